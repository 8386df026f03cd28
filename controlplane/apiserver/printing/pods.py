"""The columns of pods; STATUS is the one that people read.

Pure; the time is an argument. Follows what `kubectl get pods` shows with an upstream server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from controlplane.apiserver.printing.cells import NONE, format_age

_FINISHED: Final = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


@dataclass(frozen=True, slots=True)
class _Summary:
    """What the container statuses add up to."""

    reason: str
    ready: int
    restarts: int
    last_restart: str


def list_pod_cells(pod: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of one pod, wide ones included."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    summary = _summarise(spec, status)
    reason = _mark_deletion(pod, summary.reason)
    total = len(spec.get("containers", ())) + sum(map(is_sidecar, spec.get("initContainers", ())))
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({format_age(summary.last_restart, now)} ago)"
    return [
        pod["metadata"].get("name", ""),
        f"{summary.ready}/{total}",
        reason,
        restarts,
        format_age(pod["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _format_readiness_gates(spec, status),
    ]


def list_pod_row_conditions(pod: Mapping[str, Any]) -> list[dict[str, str]]:
    """The row's conditions: a finished pod's row is marked completed."""
    phase = pod.get("status", {}).get("phase", "")
    if phase not in _FINISHED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _FINISHED[phase]}]


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container keeps running beside the others."""
    return container.get("restartPolicy") == "Always"


def _summarise(spec: Mapping[str, Any], status: Mapping[str, Any]) -> _Summary:
    sidecars = {item.get("name") for item in spec.get("initContainers", ()) if is_sidecar(item)}
    init = _summarise_init(spec, status, sidecars)
    if init.reason and _condition(status, "Initialized") != "True":
        return init
    statuses = status.get("containerStatuses", ())
    kept = [item for item in status.get("initContainerStatuses", ()) if item.get("name") in sidecars]
    counted = [*kept, *statuses]
    running = sum(1 for item in statuses if item.get("ready") and "running" in item.get("state", {}))
    reason = _describe_containers(statuses, init.reason or _base_reason(status))
    if reason == "Completed" and running:
        reason = "Running" if _condition(status, "Ready") == "True" else "NotReady"
    return _Summary(reason, init.ready + running, _restarts(counted), _last_restart(counted))


def _base_reason(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(status.get("reason") or status.get("phase", ""))


def _summarise_init(spec: Mapping[str, Any], status: Mapping[str, Any], sidecars: set[Any]) -> _Summary:
    """As far as initialisation goes; the reason is empty once it is over."""
    statuses = status.get("initContainerStatuses", ())
    ready = 0
    for index, item in enumerate(statuses):
        state = item.get("state", {})
        if state.get("terminated", {"exitCode": 1}).get("exitCode", 0) == 0:
            continue
        if item.get("name") in sidecars and item.get("started"):
            ready += bool(item.get("ready"))
            continue
        seen = statuses[: index + 1]
        reason = _describe_init(state, index, len(spec.get("initContainers", ())))
        return _Summary(reason, ready, _restarts(seen), _last_restart(seen))
    return _Summary("", ready, 0, "")


def _describe_init(state: Mapping[str, Any], index: int, total: int) -> str:
    if "terminated" in state:
        return f"Init:{_describe_end(state['terminated'])}"
    waiting = state.get("waiting", {}).get("reason", "")
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{index}/{total}"


def _describe_containers(statuses: Sequence[Mapping[str, Any]], reason: str) -> str:
    """The first container's trouble, if any has one."""
    for item in reversed(statuses):
        state = item.get("state", {})
        if state.get("waiting", {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif "terminated" in state:
            reason = _describe_end(state["terminated"])
    return reason


def _describe_end(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(statuses: Sequence[Mapping[str, Any]]) -> int:
    return sum(item.get("restartCount", 0) for item in statuses)


def _last_restart(statuses: Sequence[Mapping[str, Any]]) -> str:
    """The latest end of an earlier run, or an empty text."""
    ends = (item.get("lastState", {}).get("terminated", {}).get("finishedAt") or "" for item in statuses)
    return max(ends, default="")


def _mark_deletion(pod: Mapping[str, Any], reason: str) -> str:
    if not pod["metadata"].get("deletionTimestamp"):
        return reason
    status = pod.get("status", {})
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return reason if status.get("phase") in _FINISHED else "Terminating"


def _condition(status: Mapping[str, Any], kind: str) -> str:
    conditions = status.get("conditions", ())
    return next((str(item.get("status", "")) for item in conditions if item.get("type") == kind), "")


def _format_readiness_gates(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    gates = spec.get("readinessGates", ())
    if not gates:
        return NONE
    passed = sum(_condition(status, gate.get("conditionType", "")) == "True" for gate in gates)
    return f"{passed}/{len(gates)}"
