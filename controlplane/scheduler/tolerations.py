"""Which taints a pod tolerates.

Pure. Used by the filters and the score about taints. Follows the "Taints and Tolerations" page of the
Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubeapi.core import Taint
from kubeapi.pod import Toleration


def find_untolerated(
    taints: Iterable[Taint], tolerations: tuple[Toleration, ...], effects: frozenset[str]
) -> tuple[Taint, ...]:
    """The taints of these effects that no toleration covers."""
    return tuple(
        taint
        for taint in taints
        if taint.effect in effects and not any(_tolerates(each, taint) for each in tolerations)
    )


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Left out, the effect means every effect; the key, with Exists, every key."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.key not in ("", taint.key):
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "Equal" | "":
            return toleration.key == taint.key and toleration.value == taint.value
        case _:
            return False
