"""Kubernetes' rules about when containers run, read off the facts: restart policies, completion,
initialization.

Pure. Called by the plans and the status, so that both judge alike. Follows the Pod lifecycle and the init
container pages of the Kubernetes documentation, KEP-5307 for the rules of single containers, and KEP-5532
for those that restart a whole pod.
"""

from __future__ import annotations

from agent.pods.goal import is_ephemeral, is_sidecar, iterate_containers
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.progress import Progress
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ContainerRestartRule, Pod

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})
_RESTART_ACTIONS = frozenset({"Restart", "RestartAllContainers"})


def has_container(pod: Pod, name: str) -> bool:
    return any(container.name == name for container in iterate_containers(pod))


def is_init_container(pod: Pod, container: Container) -> bool:
    return any(init.name == container.name for init in pod.spec.init_containers)


def should_restart(pod: Pod, container: Container, exited: ObservedContainer) -> bool:
    """Whether another attempt follows this exit, now or after a back-off."""
    if is_ephemeral(pod, container.name):
        return False
    if exited.cut_short or exited.replaced or exited.superseded or exited.state is ContainerState.UNKNOWN:
        return True
    if is_sidecar(container):
        return True
    if exited.exit_code == 0 and is_init_container(pod, container):
        return False
    return allows_restart(pod, container, exited.exit_code)


def allows_restart(pod: Pod, container: Container, exit_code: int) -> bool:
    """Whether the policies let a container that ended with this code run again.

    The first of the container's own rules that matches decides, then its own policy, then the pod's; an init
    container runs again after a success for none of them, which isn't looked at here.
    """
    if find_restart_rule(container, exit_code) is not None:
        return True
    if container.restart_policy is not None:
        return _allows(container.restart_policy, exit_code)
    if is_init_container(pod, container):
        return pod.spec.restart_policy != "Never"
    return _allows(pod.spec.restart_policy, exit_code)


def find_restart_rule(container: Container, exit_code: int) -> ContainerRestartRule | None:
    """The rule of the container's own that decides after such an exit: the first that matches.

    Rules without a policy of the container's own are invalid, and decide nothing.
    """
    if container.restart_policy is None:
        return None
    return next((rule for rule in container.restart_policy_rules if _matches(rule, exit_code)), None)


def _allows(policy: str, exit_code: int) -> bool:
    return policy not in ("Never", "OnFailure") or (policy == "OnFailure" and exit_code != 0)


def _matches(rule: ContainerRestartRule, exit_code: int) -> bool:
    """Whether this is a rule to restart something after such an exit; an unknown rule never is."""
    if rule.action not in _RESTART_ACTIONS or rule.exit_codes is None:
        return False
    match rule.exit_codes.operator:
        case "In":
            return exit_code in rule.exit_codes.values
        case "NotIn":
            return exit_code not in rule.exit_codes.values
        case _:
            return False


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
    newest = (observed.newest_in(sandbox.id, container.name) for container in pod.spec.containers)
    return any(attempt is not None and not attempt.superseded for attempt in newest)


def is_init_done(
    container: Container, observed: ObservedPod, sandbox: ObservedSandbox | None, progress: Progress
) -> bool:
    """Whether this init container lets the next one go: exited with 0, or a sidecar that has started."""
    if sandbox is None:
        return False
    newest = observed.newest_in(sandbox.id, container.name)
    if newest is None or newest.superseded:
        return False
    if is_sidecar(container):
        return newest.running and has_started(container, newest, progress)
    return newest.state is ContainerState.EXITED and newest.exit_code == 0


def has_started(container: Container, running: ObservedContainer, progress: Progress) -> bool:
    """Whether a running container's postStart hook and its startup probe are behind it."""
    return progress.verdict(running.id).started and not awaits_post_start(container, running, progress)


def awaits_post_start(container: Container, running: ObservedContainer, progress: Progress) -> bool:
    """Whether the postStart hook hasn't succeeded yet; until then the container doesn't count as running."""
    hook = container.lifecycle.post_start if container.lifecycle else None
    return hook is not None and running.id not in progress.post_started


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
