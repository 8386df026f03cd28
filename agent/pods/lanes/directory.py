"""What other parts of the agent may know of a pod, from its lane's last look.

Pure. Called by `lanes`, which implements the port `PodDirectory` with it.
"""

from __future__ import annotations

from pathlib import Path

from agent.pods.goal import is_static, iterate_statuses
from agent.pods.lifecycle import find_current_sandbox
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.ports import ContainerHandle, HostPort, RunningPod
from kubeapi.pod import Pod


def build_running_pod(pod: Pod, observed: ObservedPod, terminating: bool) -> RunningPod | None:
    """None without a working sandbox. Host ports of a pod on the host's network are its own business."""
    sandbox = find_current_sandbox(pod, observed)
    if sandbox is None:
        return None
    return RunningPod(
        uid=pod.uid,
        key=pod.key,
        pod_ips=sandbox.ips,
        host_network=pod.spec.host_network,
        host_ports=() if pod.spec.host_network else _list_host_ports(pod),
        terminating=terminating,
        static=is_static(pod),
    )


def _list_host_ports(pod: Pod) -> tuple[HostPort, ...]:
    return tuple(
        HostPort(port.protocol, port.host_ip, port.host_port, port.container_port)
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for port in container.ports
        if port.host_port
    )


def choose_container_name(pod: Pod, name: str) -> str:
    """The name itself, or the default container's: as annotated, else the first."""
    if name:
        return name
    annotated = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
    return annotated or next((container.name for container in pod.spec.containers), "")


def build_handle(
    pod: Pod, observed: ObservedPod, name: str, previous: bool, log_directory: Path
) -> ContainerHandle | None:
    """The newest attempt that was started; `previous`: the one that the status shows as the last state."""
    chosen = choose_container_name(pod, name)
    started = [c for c in observed.attempts(chosen) if c.running or c.dead]
    if previous:
        last = _find_last_terminated(pod, chosen)
        started = [c for c in started if c.id == last]
    if not started:
        return None
    found = started[0]
    return ContainerHandle(
        pod=pod,
        sandbox_id=found.sandbox_id,
        container_id=found.id,
        log_path=_choose_log_path(found, log_directory),
        running=found.running,
    )


def _find_last_terminated(pod: Pod, name: str) -> str:
    """While a container waits for its restart, that is the newest attempt, not the one before it."""
    for status in iterate_statuses(pod.status):
        if status.name == name and status.last_state.terminated is not None:
            return status.last_state.terminated.container_id.partition("://")[2]
    return ""


def _choose_log_path(container: ObservedContainer, log_directory: Path) -> Path:
    if container.log_path:
        return Path(container.log_path)
    return log_directory / container.name / f"{container.restart_count}.log"
