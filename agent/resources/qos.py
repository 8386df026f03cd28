"""Quality-of-service class of a pod and the kernel numbers that follow from requests and limits.

Pure. Called by `agent.pods` when it builds CRI configurations and by whoever names a pod's cgroup. Follows
the "Pod Quality of Service Classes" page and the kubelet's conversions of CPU and memory quantities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from kubeapi.meta import QuantityText
from kubeapi.pod import Container, Pod, PodSpec, ResourceRequirements
from kubeapi.quantity import parse_quantity

_COMPUTE: Final = ("cpu", "memory")
_MIN_SHARES: Final = 2
_MAX_SHARES: Final = 262144
_MIN_QUOTA_MICROSECONDS: Final = 1000
_GUARANTEED_OOM_SCORE: Final = -997
_BEST_EFFORT_OOM_SCORE: Final = 1000
_NODE_CRITICAL_PRIORITY: Final = 2_000_000_000


class QOSClass(StrEnum):
    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def compute_qos_class(spec: PodSpec) -> QOSClass:
    """The pod's class from the CPU and memory of all its init and app containers, or of the pod where it has
    them.
    """
    parts = tuple(_resource_parts(spec))
    requests = [_compute_quantities(part.requests) for part in parts]
    limits = [_compute_quantities(part.limits) for part in parts]
    if not any(requests) and not any(limits):
        return QOSClass.BEST_EFFORT
    complete = all(limit.keys() == set(_COMPUTE) for limit in limits)
    equal = all(
        request.get(name, limit[name]) == limit[name]
        for request, limit in zip(requests, limits, strict=True)
        for name in limit
    )
    return QOSClass.GUARANTEED if complete and equal else QOSClass.BURSTABLE


def compute_oom_score_adj(pod: Pod, container: Container, memory_capacity_bytes: int) -> int:
    """The container's oom_score_adj: the more of the node's memory it requested, the later it is killed."""
    if (pod.spec.priority or 0) >= _NODE_CRITICAL_PRIORITY:
        return _GUARANTEED_OOM_SCORE
    match compute_qos_class(pod.spec):
        case QOSClass.GUARANTEED:
            return _GUARANTEED_OOM_SCORE
        case QOSClass.BEST_EFFORT:
            return _BEST_EFFORT_OOM_SCORE
        case QOSClass.BURSTABLE:
            requested = _units(container.resources.requests, "memory")
            score = 1000 - (1000 * requested) // max(memory_capacity_bytes, 1)
            return min(max(score, 1000 + _GUARANTEED_OOM_SCORE), _BEST_EFFORT_OOM_SCORE - 1)


def compute_cpu_shares(millicores: int) -> int:
    """cgroup v1's cpu.shares; the runtime turns it into cpu.weight on v2."""
    return min(max(millicores * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)


def compute_cpu_weight(shares: int) -> int:
    """cgroup v2's cpu.weight for v1's cpu.shares: both ranges from end to end."""
    return 1 + (shares - _MIN_SHARES) * 9999 // (_MAX_SHARES - _MIN_SHARES)


def compute_cpu_quota(millicores: int, period_microseconds: int = 100_000) -> int:
    """The CFS quota in microseconds for each period; 0 means no limit."""
    if millicores <= 0:
        return 0
    return max(millicores * period_microseconds // 1000, _MIN_QUOTA_MICROSECONDS)


def _resource_parts(spec: PodSpec) -> Iterator[ResourceRequirements]:
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        yield spec.resources
        return
    containers: Iterable[Container] = (*spec.init_containers, *spec.containers)
    for container in containers:
        yield container.resources


def _compute_quantities(resources: Mapping[str, QuantityText]) -> dict[str, int]:
    """CPU in millicores and memory in bytes, positive ones only."""
    found = {"cpu": _millis(resources, "cpu"), "memory": _units(resources, "memory")}
    return {name: value for name, value in found.items() if value > 0}


def _millis(resources: Mapping[str, QuantityText], name: str) -> int:
    return parse_quantity(resources[name]).millis() if name in resources else 0


def _units(resources: Mapping[str, QuantityText], name: str) -> int:
    return parse_quantity(resources[name]).units() if name in resources else 0
