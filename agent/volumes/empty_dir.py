"""How large an emptyDir in memory may grow.

Pure. Called by `plan`. Follows the "emptyDir" section of the Volumes page: never more than the pod's own
memory limit or what the node can give to pods, and less where sizeLimit says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.resources.requests import compute_pod_limit
from kubeapi.meta import QuantityText
from kubeapi.pod import Pod
from kubeapi.quantity import parse_quantity

_MEMORY: Final = "memory"


def compute_memory_size(
    pod: Pod, size_limit: QuantityText | None, allocatable: Mapping[str, QuantityText]
) -> int | None:
    """Bytes for the tmpfs, or None where nothing bounds it; raises QuantityError."""
    bounds = (
        0 if size_limit is None else parse_quantity(size_limit).units(),
        compute_pod_limit(pod, _MEMORY) or 0,
        parse_quantity(allocatable[_MEMORY]).units() if _MEMORY in allocatable else 0,
    )
    return min((bound for bound in bounds if bound > 0), default=None)
