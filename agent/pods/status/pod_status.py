"""The status of a pod as the API shows it: phase, conditions, containers, addresses.

Pure. Called by the pod's lane after each look; `status.writer` sends what changed. Follows the Pod lifecycle
page; what a phase is and when follows the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.pods.goal import Ending, PodGoal, is_sidecar, iterate_statuses
from agent.pods.lifecycle import TERMINAL_PHASES, allows_restart, find_current_sandbox, should_restart
from agent.pods.observed import ObservedPod
from agent.pods.progress import Progress
from agent.pods.resize.report import add_resources, compute_resize_conditions
from agent.pods.restart_all import is_restarting, mark_superseded, may_restart_all
from agent.pods.status.conditions import add_disruption, compute_conditions
from agent.pods.status.container_status import ContainerSituation, compute_container_status, format_epoch
from agent.resources.qos import compute_qos_class
from kubeapi.pod import Container, ContainerStatus, HostIP, Pod, PodIP, PodStatus


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a pod's status says of its node: the addresses, and the runtime's name in container ids."""

    host_ips: tuple[str, ...]
    runtime_name: str = "containerd"


def compute_pod_status(
    goal: PodGoal, observed: ObservedPod, progress: Progress, previous: PodStatus, node: NodeFacts, now: float
) -> PodStatus:
    """The whole status; `previous` is the last one known, for what only time and others decide."""
    observed = mark_superseded(goal.pod, observed)
    known = {status.name: status for status in iterate_statuses(previous)}
    situation = ContainerSituation(goal, observed, progress, node.runtime_name, now, known)
    pod = goal.pod
    inits = tuple(_compute_status(situation, container) for container in pod.spec.init_containers)
    apps = tuple(_compute_status(situation, container) for container in pod.spec.containers)
    ephemeral = tuple(
        compute_container_status(situation, container) for container in pod.spec.ephemeral_containers
    )
    sandbox = find_current_sandbox(pod, observed)
    returning = frozenset(_list_returning(pod, observed, (*inits, *apps)))
    phase = compute_phase(goal, inits, apps, previous.phase, returning)
    ips = _compute_pod_ips(pod, observed, node, previous)
    time = format_epoch(now)
    reason, message = _compute_reason(goal, previous, phase)
    if phase == "Failed" and _has_never_begun(observed, previous):
        return _compute_refused_status(goal, previous, time, reason, message)
    restarting = _is_restarting(goal, observed) if may_restart_all(pod) else None
    conditions = (
        *compute_conditions(
            pod, phase, sandbox is not None, inits, apps, previous.conditions, time or "", restarting
        ),
        *compute_resize_conditions(goal, progress, previous.conditions, time or ""),
    )
    if goal.termination is not None and goal.termination.disruption:
        conditions = add_disruption(conditions, goal.termination.message, pod.metadata.generation, time or "")
    if _is_ending_early(phase, previous, inits, apps):
        phase, reason, message = previous.phase or "Pending", previous.reason, previous.message
    return PodStatus(
        observed_generation=pod.metadata.generation,
        phase=phase,
        conditions=conditions,
        reason=reason,
        message=message,
        nominated_node_name=previous.nominated_node_name,
        host_ip=node.host_ips[0] if node.host_ips else "",
        host_ips=tuple(HostIP(ip=ip) for ip in node.host_ips),
        pod_ip=ips[0] if ips else "",
        pod_ips=tuple(PodIP(ip=ip) for ip in ips),
        start_time=previous.start_time or format_epoch(goal.start_time) or time,
        init_container_statuses=inits,
        container_statuses=apps,
        ephemeral_container_statuses=ephemeral,
        qos_class=previous.qos_class or compute_qos_class(pod.spec).value,
    )


def _compute_status(situation: ContainerSituation, container: Container) -> ContainerStatus:
    status = compute_container_status(situation, container)
    return add_resources(situation.goal, situation.observed, container, status)


def _is_restarting(goal: PodGoal, observed: ObservedPod) -> bool:
    return goal.termination is None and is_restarting(goal.pod, observed)


def _is_ending_early(
    phase: str, previous: PodStatus, inits: tuple[ContainerStatus, ...], apps: tuple[ContainerStatus, ...]
) -> bool:
    """A final phase waits for the last container: whoever reads it hands the pod's resources on."""
    running = any(status.state.running for status in (*inits, *apps))
    return running and phase in TERMINAL_PHASES and previous.phase not in TERMINAL_PHASES


def _has_never_begun(observed: ObservedPod, previous: PodStatus) -> bool:
    return observed.empty and not previous.container_statuses


def _compute_refused_status(
    goal: PodGoal, previous: PodStatus, time: str | None, reason: str, message: str
) -> PodStatus:
    """Of a pod that the node never took: it has no containers to tell of, as the kubelet has it."""
    return PodStatus(
        observed_generation=goal.pod.metadata.generation,
        phase="Failed",
        conditions=previous.conditions,
        reason=reason,
        message=message,
        start_time=previous.start_time or format_epoch(goal.start_time) or time,
        qos_class=previous.qos_class or compute_qos_class(goal.pod.spec).value,
    )


def compute_phase(
    goal: PodGoal,
    inits: tuple[ContainerStatus, ...],
    apps: tuple[ContainerStatus, ...],
    previous: str,
    returning: frozenset[str],
) -> str:
    """Pending, Running, Succeeded or Failed; the last two are for good. `returning`: containers that will be
    started again once they have ended.
    """
    if previous in TERMINAL_PHASES:
        return previous
    termination = goal.termination
    if termination is not None and termination.ending is Ending.FAILED:
        return "Failed"
    initializing = _compute_init_phase(goal.pod, inits, apps, returning)
    if initializing and termination is None:
        return initializing
    return _compute_app_phase(goal, apps, _list_sidecars(goal.pod, inits), returning)


def _list_returning(pod: Pod, observed: ObservedPod, statuses: tuple[ContainerStatus, ...]) -> Iterator[str]:
    """The containers whose last end is followed by another attempt: phase and plan judge alike."""
    for container, status in zip((*pod.spec.init_containers, *pod.spec.containers), statuses, strict=True):
        newest, exited = observed.newest(container.name), status.state.terminated
        if newest is not None:
            comes_back = not newest.dead or should_restart(pod, container, newest)
        else:
            comes_back = exited is None or allows_restart(pod, container, exited.exit_code)
        if comes_back:
            yield container.name


def _compute_init_phase(
    pod: Pod,
    inits: tuple[ContainerStatus, ...],
    apps: tuple[ContainerStatus, ...],
    returning: frozenset[str],
) -> str:
    """Pending or Failed while init containers decide, else empty; those of a new sandbox decide again."""
    if any(status.state.running for status in apps) or _are_over(apps, returning):
        return ""
    initialized_before = any(_has_run(status) for status in apps)
    if any(_has_failed(status) and status.name not in returning for status in inits):
        return "Failed"
    for container, status in zip(pod.spec.init_containers, inits, strict=True):
        if is_sidecar(container):
            if not status.started and not initialized_before:
                return "Pending"
            continue
        exited = status.state.terminated
        if exited is None or exited.exit_code != 0:
            return "Pending"
    return ""


def _has_failed(status: ContainerStatus) -> bool:
    return status.state.terminated is not None and status.state.terminated.exit_code != 0


def _has_run(status: ContainerStatus) -> bool:
    return bool(status.state.running or status.state.terminated or status.last_state.terminated)


def _list_sidecars(pod: Pod, inits: tuple[ContainerStatus, ...]) -> tuple[ContainerStatus, ...]:
    pairs = zip(pod.spec.init_containers, inits, strict=True)
    return tuple(status for container, status in pairs if is_sidecar(container))


def _compute_app_phase(
    goal: PodGoal,
    statuses: tuple[ContainerStatus, ...],
    sidecars: tuple[ContainerStatus, ...],
    returning: frozenset[str],
) -> str:
    """A pod has ended once its sidecars have, too; how they ended doesn't matter."""
    if not all(_has_run(status) for status in statuses):
        return "Pending"
    if any(status.state.running for status in (*statuses, *sidecars)):
        return "Running"
    exits = [status.state.terminated for status in statuses]
    stopped = [exited for exited in exits if exited is not None]
    if len(stopped) < len(statuses):
        return "Running"
    if goal.termination is None and any(status.name in returning for status in statuses):
        return "Running"
    return "Succeeded" if all(exited.exit_code == 0 for exited in stopped) else "Failed"


def _are_over(apps: tuple[ContainerStatus, ...], returning: frozenset[str]) -> bool:
    return all(status.state.terminated and status.name not in returning for status in apps)


def _compute_pod_ips(
    pod: Pod, observed: ObservedPod, node: NodeFacts, previous: PodStatus
) -> tuple[str, ...]:
    """Addresses of the working sandbox; the last ones stay while the pod ends, as the kubelet has it."""
    sandbox = find_current_sandbox(pod, observed)
    if sandbox is None:
        return tuple(ip.ip for ip in previous.pod_ips) if observed.sandboxes else ()
    return node.host_ips if pod.spec.host_network else order_pod_ips(sandbox.ips, node.host_ips)


def order_pod_ips(ips: tuple[str, ...], host_ips: tuple[str, ...]) -> tuple[str, ...]:
    """One address of each family at most, that of the node's primary family first, as in `status.podIPs`."""
    by_family: dict[bool, str] = {}
    for ip in ips:
        by_family.setdefault(":" in ip, ip)
    primary = ":" in host_ips[0] if host_ips else ":" in next(iter(ips), "")
    return tuple(by_family[family] for family in (primary, not primary) if family in by_family)


def _compute_reason(goal: PodGoal, previous: PodStatus, phase: str) -> tuple[str, str]:
    termination = goal.termination
    if termination is not None and termination.ending is Ending.FAILED:
        return termination.reason, termination.message
    return (previous.reason, previous.message) if phase in TERMINAL_PHASES else ("", "")
