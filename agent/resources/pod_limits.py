"""The numbers of a pod's own cgroup, which holds its containers' cgroups, and the kernel files they go to.

Pure. Made from a pod's resources as the kubelet makes them: the sum of the requests as CPU weight, and the
sum of the limits where every container has one. `pod_cgroups` reads and writes the files. Follows cgroups(7),
the kernel's cgroup-v1 and cgroup-v2 documents and the kubelet's conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.resources.cgroup import Hierarchy
from agent.resources.qos import (
    QOSClass,
    compute_cpu_quota,
    compute_cpu_shares,
    compute_cpu_weight,
    compute_qos_class,
)
from agent.resources.requests import compute_pod_limit, compute_pod_request
from kubeapi.pod import Pod

CPU_PERIOD_MICROSECONDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class PodLimits:
    """`None` is no limit; `cpu_quota` in microseconds for each period."""

    cpu_shares: int
    cpu_quota: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CgroupSetting:
    """One file of a cgroup and what it shall hold; `usage_file` names what a memory limit is held against."""

    file: str
    value: str
    usage_file: str = ""
    limit_bytes: int | None = None


def compute_pod_limits(pod: Pod) -> PodLimits:
    """What the pod's containers add up to."""
    if compute_qos_class(pod.spec) is QOSClass.BEST_EFFORT:
        return PodLimits(compute_cpu_shares(0))
    cpu = compute_pod_limit(pod, "cpu")
    return PodLimits(
        cpu_shares=compute_cpu_shares(compute_pod_request(pod, "cpu")),
        cpu_quota=None if cpu is None else compute_cpu_quota(cpu, CPU_PERIOD_MICROSECONDS),
        memory_bytes=compute_pod_limit(pod, "memory"),
    )


def compute_tier_shares(pods: Iterable[Pod]) -> Mapping[QOSClass, int]:
    """CPU shares of the two tiers: what the burstable pods request together, and the least there is."""
    burstable = [
        pod
        for pod in pods
        if pod.status.phase not in ("Succeeded", "Failed")
        and compute_qos_class(pod.spec) is QOSClass.BURSTABLE
    ]
    requested = sum(compute_pod_request(pod, "cpu") for pod in burstable)
    return {
        QOSClass.BURSTABLE: compute_cpu_shares(requested),
        QOSClass.BEST_EFFORT: compute_cpu_shares(0),
    }


def list_weight_settings(shares: int, hierarchy: Hierarchy) -> tuple[CgroupSetting, ...]:
    """The one file that weighs a cgroup's CPU time; none in a hierarchy without CPU."""
    if hierarchy.version == 2:
        return (CgroupSetting("cpu.weight", str(compute_cpu_weight(shares))),)
    return (CgroupSetting("cpu.shares", str(shares)),) if "cpu" in hierarchy.controllers else ()


def list_settings(limits: PodLimits, hierarchy: Hierarchy) -> tuple[CgroupSetting, ...]:
    """The files of this hierarchy, in the order of writing; empty where it has neither CPU nor memory."""
    return tuple(_list_v2(limits) if hierarchy.version == 2 else _list_v1(limits, hierarchy))


def _list_v2(limits: PodLimits) -> Iterator[CgroupSetting]:
    quota = "max" if limits.cpu_quota is None else str(limits.cpu_quota)
    yield CgroupSetting("cpu.weight", str(compute_cpu_weight(limits.cpu_shares)))
    yield CgroupSetting("cpu.max", f"{quota} {CPU_PERIOD_MICROSECONDS}")
    memory = "max" if limits.memory_bytes is None else str(limits.memory_bytes)
    yield CgroupSetting("memory.max", memory, "memory.current", limits.memory_bytes)


def _list_v1(limits: PodLimits, hierarchy: Hierarchy) -> Iterator[CgroupSetting]:
    if "cpu" in hierarchy.controllers:
        yield CgroupSetting("cpu.shares", str(limits.cpu_shares))
        yield CgroupSetting("cpu.cfs_period_us", str(CPU_PERIOD_MICROSECONDS))
        quota = -1 if limits.cpu_quota is None else limits.cpu_quota
        yield CgroupSetting("cpu.cfs_quota_us", str(quota))
    if "memory" in hierarchy.controllers:
        memory = -1 if limits.memory_bytes is None else limits.memory_bytes
        yield CgroupSetting(
            "memory.limit_in_bytes", str(memory), "memory.usage_in_bytes", limits.memory_bytes
        )


def find_memory_conflict(setting: CgroupSetting, usage: str) -> str | None:
    """A sentence where the limit would leave less than the pod uses now; the kernel would kill for it."""
    if setting.limit_bytes is None or not usage.strip().isdigit():
        return None
    used = int(usage)
    if used < setting.limit_bytes:
        return None
    return f"attempting to set pod memory limit ({setting.limit_bytes}) below current usage ({used})"
