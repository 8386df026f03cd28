"""Which pods make room for a critical one that the node would refuse for lack of resources.

Pure. Called by the admission. A pod goes only for one that counts more; among those that may go as few and
as cheap ones as possible: best-effort pods before burstable before guaranteed ones, and the set whose sum is
closest to what is lacking. Follows the kubelet's critical pod admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agent.pods.goal import is_mirror, is_static
from agent.resources.qos import QOSClass, compute_qos_class
from agent.resources.requests import compute_pod_request
from kubeapi.pod import Pod

PREEMPTING: Final = "Preempting"
PREEMPTED_MESSAGE: Final = "Preempted in order to admit critical pod"
_SYSTEM_CRITICAL_PRIORITY: Final = 2_000_000_000
_RELUCTANCE: Final = (QOSClass.GUARANTEED, QOSClass.BURSTABLE, QOSClass.BEST_EFFORT)

Amounts = Mapping[str, int]
"""By resource, CPU in millicores; `pods` counts pods."""


def is_critical(pod: Pod) -> bool:
    """Static pods, and those of the system's own priority classes."""
    return is_static(pod) or is_mirror(pod) or (pod.spec.priority or 0) >= _SYSTEM_CRITICAL_PRIORITY


def may_preempt(pod: Pod, other: Pod) -> bool:
    """Whether `other` may be ended so that `pod` can run."""
    if is_critical(pod) and not is_critical(other):
        return True
    if pod.spec.priority is None or other.spec.priority is None:
        return False
    return pod.spec.priority > other.spec.priority


def choose_preempted(pod: Pod, others: Iterable[Pod], lacking: Amounts) -> tuple[Pod, ...] | None:
    """The pods to end so that `lacking` becomes free; None where all that may go aren't enough."""
    candidates = [other for other in others if may_preempt(pod, other)]
    if not _is_covered(_subtract(lacking, candidates)):
        return None
    classes = {qos: [p for p in candidates if compute_qos_class(p.spec) is qos] for qos in QOSClass}
    chosen: dict[QOSClass, tuple[Pod, ...]] = {}
    for qos in _RELUCTANCE:
        # What is more dearly ended goes only for what the cheaper classes together can't give.
        given = [p for known in chosen.values() for p in known]
        cheaper = [
            p for other in QOSClass if other not in chosen and other is not qos for p in classes[other]
        ]
        chosen[qos] = _choose_closest(classes[qos], _subtract(lacking, (*given, *cheaper)))
    return tuple(p for known in chosen.values() for p in known)


def _choose_closest(pods: list[Pod], lacking: Amounts) -> tuple[Pod, ...]:
    """One after the other the pod that comes closest; of equals the one that holds less."""
    left, chosen = list(pods), []
    while not _is_covered(lacking) and left:
        best = min(left, key=lambda pod: (_measure_distance(_subtract(lacking, (pod,)), lacking), _size(pod)))
        left.remove(best)
        chosen.append(best)
        lacking = _subtract(lacking, (best,))
    return tuple(chosen)


def _measure_distance(rest: Amounts, lacking: Amounts) -> float:
    """Of what is left to free, as a share of what is lacking, over all resources."""
    return sum((max(rest[name], 0) / amount) ** 2 for name, amount in lacking.items() if amount > 0)


def _size(pod: Pod) -> tuple[int, int]:
    return compute_pod_request(pod, "memory"), compute_pod_request(pod, "cpu")


def _subtract(lacking: Amounts, pods: Iterable[Pod]) -> Amounts:
    freed = tuple(pods)
    return {name: amount - sum(_hold(pod, name) for pod in freed) for name, amount in lacking.items()}


def _hold(pod: Pod, resource: str) -> int:
    return 1 if resource == "pods" else compute_pod_request(pod, resource)


def _is_covered(lacking: Amounts) -> bool:
    return all(amount <= 0 for amount in lacking.values())
