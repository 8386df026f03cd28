"""Kubernetes' rules about when containers run, read off the facts: restart policies, completion,
initialization.

Pure. Called by the plans and the status, so that both judge alike. Follows the Pod lifecycle and the init
container pages of the Kubernetes documentation.
"""

from __future__ import annotations

from agent.pods.goal import is_sidecar
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.progress import Progress
from kubeapi.pod import Container, Pod

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


def has_container(pod: Pod, name: str) -> bool:
    return any(container.name == name for container in (*pod.spec.init_containers, *pod.spec.containers))


def is_init_container(pod: Pod, container: Container) -> bool:
    return any(init.name == container.name for init in pod.spec.init_containers)


def should_restart(pod: Pod, container: Container, exited: ObservedContainer) -> bool:
    """Whether another attempt follows this exit, now or after a back-off."""
    if is_sidecar(container):
        return True
    if is_init_container(pod, container):
        return exited.exit_code != 0 and pod.spec.restart_policy != "Never"
    match container.restart_policy or pod.spec.restart_policy:
        case "Never":
            return False
        case "OnFailure":
            return exited.exit_code != 0
        case _:
            return True


def find_current_sandbox(pod: Pod, observed: ObservedPod) -> ObservedSandbox | None:
    """The newest sandbox that works: ready, and with an address where it has a network of its own."""
    for sandbox in observed.sandboxes:
        if sandbox.ready and (sandbox.ips or pod.spec.host_network):
            return sandbox
    return None


def has_started_apps(pod: Pod, observed: ObservedPod, sandbox: ObservedSandbox | None) -> bool:
    """Whether any app container was made in this sandbox, which can only follow initialization."""
    if sandbox is None:
        return False
    return any(observed.newest_in(sandbox.id, container.name) for container in pod.spec.containers)


def is_init_done(
    container: Container, observed: ObservedPod, sandbox: ObservedSandbox | None, progress: Progress
) -> bool:
    """Whether this init container lets the next one go: exited with 0, or a sidecar that has started."""
    if sandbox is None:
        return False
    newest = observed.newest_in(sandbox.id, container.name)
    if newest is None:
        return False
    if is_sidecar(container):
        return newest.running and progress.verdict(newest.id).started
    return newest.dead and newest.exit_code == 0


def is_pod_finished(pod: Pod, observed: ObservedPod) -> bool:
    """Whether nothing of this pod will ever run again by its own restart policy."""
    if pod.status.phase in TERMINAL_PHASES:
        return True
    if has_failed_init(pod, observed):
        return True
    return bool(pod.spec.containers) and all(
        _is_over(pod, container, observed) for container in pod.spec.containers
    )


def has_failed_init(pod: Pod, observed: ObservedPod) -> bool:
    """Whether an init container failed for good."""
    for container in pod.spec.init_containers:
        newest = observed.newest(container.name)
        if newest is None or is_sidecar(container) or not newest.dead:
            continue
        if newest.exit_code != 0 and not should_restart(pod, container, newest):
            return True
    return False


def _is_over(pod: Pod, container: Container, observed: ObservedPod) -> bool:
    newest = observed.newest(container.name)
    return newest is not None and newest.dead and not should_restart(pod, container, newest)
