"""Node lifecycle: a node that stopped renewing its Lease becomes Unknown, and taints say what its
conditions say.

Pure. Called by `controlplane.controllers.node_lifecycle.observe`. Follows the "Nodes" page (heartbeats) and
the "Taints and Tolerations" page (taint nodes by condition) of the Kubernetes documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from controlplane.controllers.actions import Action, MergePatch, Plan, StrategicPatch
from controlplane.controllers.conditions import get_condition
from controlplane.controllers.pod_state import is_pod_ready
from controlplane.notes import Note
from kubeapi.core import Node, Taint
from kubeapi.event_records import EventType, build_reference
from kubeapi.meta import format_time
from kubeapi.pod import Pod
from kubeapi.resources import NODES, PODS

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
_HEARTBEAT_CONDITIONS: Final = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE_TAINTS: Final = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS: Final = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE_TAINTS.values()})


@dataclass(frozen=True, slots=True)
class ObservedNode:
    """`heard_at`: when we last saw a new heartbeat, by our own clock, so that clocks may differ."""

    node: Node
    heard_at: datetime
    pods: tuple[Pod, ...] = ()


def plan_node_lifecycle(observed: ObservedNode, grace_seconds: float, now: datetime) -> Plan:
    """Conditions first: the taints follow from them at the next look."""
    silent_seconds = (now - observed.heard_at).total_seconds()
    if silent_seconds > grace_seconds:
        unknown = _plan_unknown(observed.node, now)
        if unknown:
            return Plan(unknown)
        return Plan((*_plan_taints(observed.node, now), *_plan_pods_not_ready(observed, now)))
    return Plan(_plan_taints(observed.node, now), grace_seconds - silent_seconds + 0.1)


def _plan_unknown(node: Node, now: datetime) -> tuple[Action, ...]:
    """Every heartbeat condition to Unknown; conditional, so that a heartbeat that comes just now wins."""
    instant = format_time(now)
    written = []
    for type_ in _HEARTBEAT_CONDITIONS:
        current = get_condition(node.status.conditions, type_)
        if current is not None and current.status == "Unknown":
            continue
        written.append(
            {
                "type": type_,
                "status": "Unknown",
                "reason": "NodeStatusUnknown" if current else "NodeStatusNeverUpdated",
                "message": "Kubelet stopped posting node status."
                if current
                else "Kubelet never posted node status.",
                "lastTransitionTime": instant,
            }
        )
    if not written:
        return ()
    body = {
        "metadata": {"resourceVersion": node.metadata.resource_version},
        "status": {"conditions": written},
    }
    said = f"Node {node.metadata.name} status is now: NodeNotReady"
    note = Note(build_reference(NODES, node), "NodeNotReady", said)
    return (StrategicPatch(NODES, node.key, body, subresource="status", note=note),)


def _plan_taints(node: Node, now: datetime) -> tuple[Action, ...]:
    """Our taints as the conditions ask for, other people's as they are; conditional, the list being one
    value.
    """
    wanted = compute_taints(node)
    have = {(taint.key, taint.effect): taint for taint in node.spec.taints if taint.key in _OURS}
    if have.keys() == set(wanted):
        return ()
    foreign = [taint for taint in node.spec.taints if taint.key not in _OURS]
    ours = [have.get(each) or _build_taint(*each, now) for each in wanted]
    body = {
        "metadata": {"resourceVersion": node.metadata.resource_version},
        "spec": {"taints": [_write(taint) for taint in (*foreign, *ours)]},
    }
    return (MergePatch(NODES, node.key, body),)


def compute_taints(node: Node) -> tuple[tuple[str, str], ...]:
    """Key and effect of each taint that the node's conditions and `spec.unschedulable` ask for."""
    ready = get_condition(node.status.conditions, "Ready")
    status = ready.status if ready is not None else "Unknown"
    if ready is None or status == "False":
        keys = [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif status == "Unknown":
        keys = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    else:
        keys = []
    for type_, key in _PRESSURE_TAINTS.items():
        condition = get_condition(node.status.conditions, type_)
        if condition is not None and condition.status == "True":
            keys.append((key, "NoSchedule"))
    if node.spec.unschedulable:
        keys.append((UNSCHEDULABLE, "NoSchedule"))
    return tuple(keys)


def _plan_pods_not_ready(observed: ObservedNode, now: datetime) -> tuple[Action, ...]:
    """Pods of a silent node can't be trusted to serve: out of the endpoints with them."""
    instant = format_time(now)
    condition = {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": instant}
    body = {"status": {"conditions": [condition]}}
    return tuple(
        StrategicPatch(
            PODS,
            pod.key,
            body,
            subresource="status",
            note=Note(build_reference(PODS, pod), "NodeNotReady", "Node is not ready", EventType.WARNING),
        )
        for pod in observed.pods
        if is_pod_ready(pod)
    )


def _build_taint(key: str, effect: str, now: datetime) -> Taint:
    return Taint(key=key, effect=effect, time_added=format_time(now))


def _write(taint: Taint) -> dict[str, Any]:
    written: dict[str, Any] = msgspec.to_builtins(taint)
    return written
