"""The status of a pod as the API shows it: phase, conditions, containers, addresses.

Pure. Called by the pod's lane after each look; `status_writer` sends what changed. Follows the Pod lifecycle
page; what a phase is and when follows the kubelet.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.pods.conditions import compute_conditions
from agent.pods.container_status import ContainerSituation, compute_container_status, format_epoch
from agent.pods.goal import Ending, PodGoal, is_sidecar
from agent.pods.lifecycle import TERMINAL_PHASES, find_current_sandbox
from agent.pods.observed import ObservedPod
from agent.pods.progress import Progress
from agent.resources.qos import compute_qos_class
from kubeapi.pod import ContainerStatus, HostIP, Pod, PodIP, PodStatus


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a pod's status says of its node: the addresses, and the runtime's name in container ids."""

    host_ips: tuple[str, ...]
    runtime_name: str = "containerd"


def compute_pod_status(
    goal: PodGoal, observed: ObservedPod, progress: Progress, previous: PodStatus, node: NodeFacts, now: float
) -> PodStatus:
    """The whole status; `previous` is the last one known, for what only time and others decide."""
    situation = ContainerSituation(goal, observed, progress, node.runtime_name, now)
    pod = goal.pod
    inits = tuple(compute_container_status(situation, container) for container in pod.spec.init_containers)
    apps = tuple(compute_container_status(situation, container) for container in pod.spec.containers)
    sandbox = find_current_sandbox(pod, observed)
    phase = compute_phase(goal, inits, apps, previous.phase)
    ips = _compute_pod_ips(pod, observed, node, previous)
    time = format_epoch(now)
    reason, message = _compute_reason(goal, previous, phase)
    if phase == "Failed" and _has_never_begun(observed, previous):
        return _compute_refused_status(goal, previous, time, reason, message)
    return PodStatus(
        observed_generation=pod.metadata.generation,
        phase=phase,
        conditions=compute_conditions(
            pod, phase, sandbox is not None, inits, apps, previous.conditions, time or ""
        ),
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
        ephemeral_container_statuses=previous.ephemeral_container_statuses,
        qos_class=previous.qos_class or compute_qos_class(pod.spec).value,
    )


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
    goal: PodGoal, inits: tuple[ContainerStatus, ...], apps: tuple[ContainerStatus, ...], previous: str
) -> str:
    """Pending, Running, Succeeded or Failed; the last two are for good."""
    if previous in TERMINAL_PHASES:
        return previous
    termination = goal.termination
    if termination is not None and termination.ending is Ending.FAILED:
        return "Failed"
    initializing = _compute_init_phase(goal.pod, inits, apps)
    if initializing and termination is None:
        return initializing
    return _compute_app_phase(goal, apps, _list_sidecars(goal.pod, inits))


def _compute_init_phase(
    pod: Pod, inits: tuple[ContainerStatus, ...], apps: tuple[ContainerStatus, ...]
) -> str:
    """Pending or Failed while init containers decide, else empty."""
    if any(_has_run(status) for status in apps):
        return ""
    for container, status in zip(pod.spec.init_containers, inits, strict=True):
        if is_sidecar(container):
            if not status.started:
                return "Pending"
            continue
        exited = status.state.terminated
        if exited is not None and exited.exit_code != 0 and pod.spec.restart_policy == "Never":
            return "Failed"
        if exited is None or exited.exit_code != 0:
            return "Pending"
    return ""


def _has_run(status: ContainerStatus) -> bool:
    return bool(status.state.running or status.state.terminated or status.last_state.terminated)


def _list_sidecars(pod: Pod, inits: tuple[ContainerStatus, ...]) -> tuple[ContainerStatus, ...]:
    pairs = zip(pod.spec.init_containers, inits, strict=True)
    return tuple(status for container, status in pairs if is_sidecar(container))


def _compute_app_phase(
    goal: PodGoal, statuses: tuple[ContainerStatus, ...], sidecars: tuple[ContainerStatus, ...]
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
    succeeded = all(exited.exit_code == 0 for exited in stopped)
    if goal.termination is not None:
        return "Succeeded" if succeeded else "Failed"
    match goal.pod.spec.restart_policy:
        case "Never":
            return "Succeeded" if succeeded else "Failed"
        case "OnFailure":
            return "Succeeded" if succeeded else "Running"
        case _:
            return "Running"


def _compute_pod_ips(
    pod: Pod, observed: ObservedPod, node: NodeFacts, previous: PodStatus
) -> tuple[str, ...]:
    """Addresses of the working sandbox; the last ones stay while the pod ends, as the kubelet has it."""
    sandbox = find_current_sandbox(pod, observed)
    if sandbox is None:
        return tuple(ip.ip for ip in previous.pod_ips) if observed.sandboxes else ()
    return node.host_ips if pod.spec.host_network else sandbox.ips


def _compute_reason(goal: PodGoal, previous: PodStatus, phase: str) -> tuple[str, str]:
    termination = goal.termination
    if termination is not None and termination.ending is Ending.FAILED:
        return termination.reason, termination.message
    return (previous.reason, previous.message) if phase in TERMINAL_PHASES else ("", "")
