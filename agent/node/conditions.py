"""The conditions of a Node, with the kubelet's reasons and messages.

Pure: facts and time arrive as arguments. Called by `status`. Follows the "Node Status" page; the thresholds
are the kubelet's default hard eviction thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.node.facts import MachineFacts
from agent.runtime.values import RuntimeCondition
from kubeapi.meta import Condition

MEMORY_RESERVE_BYTES: Final = 100 * 1024 * 1024
DISK_RESERVE_PERCENT: Final = 10
_INODE_RESERVE_PERCENT: Final = 5


@dataclass(frozen=True, slots=True)
class RuntimeView:
    """What the runtime says of itself; `trouble` is why it couldn't be asked, `stall` why nobody knows how
    the pods are; else empty.
    """

    conditions: tuple[RuntimeCondition, ...] = ()
    trouble: str = ""
    stall: str = ""


def build_conditions(
    facts: MachineFacts, runtime: RuntimeView, known: Mapping[str, Condition], now: str
) -> tuple[Condition, ...]:
    """The four conditions; one whose status is as in `known` keeps the time of its last transition."""
    fresh = (_memory(facts), _disk(facts), _pids(), build_ready(runtime))
    return tuple(_date(condition, known.get(condition.type), now) for condition in fresh)


def build_ready(runtime: RuntimeView) -> Condition:
    """Ready, without times: True when the runtime and its network are."""
    troubles = tuple(_runtime_troubles(runtime))
    if not troubles:
        return Condition(
            type="Ready", status="True", reason="KubeletReady", message="kubelet is posting ready status"
        )
    message = troubles[0] if len(troubles) == 1 else f"[{', '.join(troubles)}]"
    return Condition(type="Ready", status="False", reason="KubeletNotReady", message=message)


def _runtime_troubles(runtime: RuntimeView) -> list[str]:
    if runtime.trouble:
        return [f"container runtime is down: {runtime.trouble}"]
    found = {condition.type: condition for condition in runtime.conditions}
    troubles = [runtime.stall] if runtime.stall else []
    for kind, what in (
        ("RuntimeReady", "container runtime not ready"),
        ("NetworkReady", "container runtime network not ready"),
    ):
        condition = found.get(kind)
        if condition is None:
            troubles.append(f"{what}: the runtime doesn't report {kind}")
        elif not condition.status:
            detail = f"reason:{condition.reason} message:{condition.message}"
            troubles.append(f"{what}: {kind}=false {detail}")
    return troubles


def _memory(facts: MachineFacts) -> Condition:
    if facts.memory_available_bytes < MEMORY_RESERVE_BYTES:
        return _pressure(
            "MemoryPressure", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
        )
    return _relaxed("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")


def _disk(facts: MachineFacts) -> Condition:
    few_bytes = facts.disk_available_bytes * 100 < facts.disk_total_bytes * DISK_RESERVE_PERCENT
    few_inodes = facts.inodes_available * 100 < facts.inodes_total * _INODE_RESERVE_PERCENT
    if few_bytes or few_inodes:
        return _pressure("DiskPressure", "KubeletHasDiskPressure", "kubelet has disk pressure")
    return _relaxed("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")


def _pids() -> Condition:
    # As upstream by default: no threshold for process ids, hence never pressure.
    return _relaxed("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available")


def _pressure(kind: str, reason: str, message: str) -> Condition:
    return Condition(type=kind, status="True", reason=reason, message=message)


def _relaxed(kind: str, reason: str, message: str) -> Condition:
    return Condition(type=kind, status="False", reason=reason, message=message)


def _date(condition: Condition, known: Condition | None, now: str) -> Condition:
    kept = known.last_transition_time if known is not None and known.status == condition.status else None
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        last_heartbeat_time=now,
        last_transition_time=kept or now,
    )
