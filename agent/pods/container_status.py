"""The status of each container as the API shows it, from what the runtime shows.

Pure. Called by `status`. States, reasons and messages are spelled as the kubelet spells them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.pods.backoff import compute_restart_time
from agent.pods.goal import PodGoal, is_sidecar
from agent.pods.lifecycle import (
    find_current_sandbox,
    has_started_apps,
    is_init_container,
    is_init_done,
    should_restart,
)
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.progress import Failure, Progress
from kubeapi.meta import format_time
from kubeapi.pod import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)

_LAUNCH_ACTIONS: Final = ("EnsureImage", "CreateContainer", "StartContainer")


@dataclass(frozen=True, slots=True)
class ContainerSituation:
    """Everything one container's status follows from."""

    goal: PodGoal
    observed: ObservedPod
    progress: Progress
    runtime_name: str
    now: float


def compute_container_status(situation: ContainerSituation, container: Container) -> ContainerStatus:
    """Of the newest attempt that was started; one that is only made yet shows nothing of itself."""
    newest = next((c for c in situation.observed.attempts(container.name) if c.running or c.dead), None)
    if newest is None:
        return _compute_missing(situation, container)
    if newest.running:
        return _compute_running(situation, container, newest)
    return _compute_exited(situation, container, newest)


def format_epoch(seconds: float | None) -> str | None:
    """The API's Time for seconds since the epoch."""
    return None if seconds is None else format_time(datetime.fromtimestamp(seconds, UTC))


def _compute_missing(situation: ContainerSituation, container: Container) -> ContainerStatus:
    reason = "PodInitializing" if _waits_for_init(situation, container) else "ContainerCreating"
    return ContainerStatus(
        name=container.name,
        image=container.image,
        state=_compute_waiting(situation, container, reason),
        started=False,
    )


def _waits_for_init(situation: ContainerSituation, container: Container) -> bool:
    pod, observed = situation.goal.pod, situation.observed
    sandbox = find_current_sandbox(pod, observed)
    if is_init_container(pod, container):
        return True
    if has_started_apps(pod, observed, sandbox):
        return False
    inits = pod.spec.init_containers
    return not all(is_init_done(init, observed, sandbox, situation.progress) for init in inits)


def _compute_waiting(situation: ContainerSituation, container: Container, reason: str) -> ContainerState:
    failure = find_failure(situation.progress, container)
    if failure is not None:
        return _waiting(failure.reason, failure.message)
    return _waiting(reason)


def find_failure(progress: Progress, container: Container) -> Failure | None:
    """What keeps the container from its next attempt, if something does."""
    for action in _LAUNCH_ACTIONS:
        failure = progress.failures.get(f"{action}:container/{container.name}")
        if failure is not None:
            return failure
    return None


def _compute_running(
    situation: ContainerSituation, container: Container, running: ObservedContainer
) -> ContainerStatus:
    progress = situation.progress
    verdict = progress.verdict(running.id)
    hook = container.lifecycle.post_start if container.lifecycle else None
    started = verdict.started and (hook is None or running.id in progress.post_started)
    serves = is_sidecar(container) or not is_init_container(situation.goal.pod, container)
    state = ContainerState(running=ContainerStateRunning(started_at=format_epoch(running.started_at)))
    return _build_status(
        situation,
        container,
        running,
        state,
        _older_exit(situation, running),
        ready=serves and verdict.ready and started,
        started=started,
    )


def _compute_exited(
    situation: ContainerSituation, container: Container, exited: ObservedContainer
) -> ContainerStatus:
    pod = situation.goal.pod
    terminated = ContainerState(terminated=_build_terminated(situation, exited))
    comes_back = situation.goal.termination is None and should_restart(pod, container, exited)
    failure = find_failure(situation.progress, container)
    if comes_back and situation.now < compute_restart_time(exited):
        return _build_status(
            situation, container, exited, _crash_loop(pod_text(situation), container, exited), terminated
        )
    if comes_back and failure is not None:
        waiting = _waiting(failure.reason, failure.message)
        return _build_status(situation, container, exited, waiting, terminated)
    completed = is_init_container(pod, container) and not is_sidecar(container) and exited.exit_code == 0
    return _build_status(
        situation, container, exited, terminated, _older_exit(situation, exited), ready=completed
    )


def pod_text(situation: ContainerSituation) -> str:
    """The pod as the kubelet's messages name it: name_namespace(uid)."""
    meta = situation.goal.pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def _crash_loop(pod: str, container: Container, exited: ObservedContainer) -> ContainerState:
    delay = format_delay(exited.backoff_seconds)
    return _waiting(
        "CrashLoopBackOff", f"back-off {delay} restarting failed container={container.name} pod={pod}"
    )


def format_delay(seconds: float) -> str:
    """A duration as Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _older_exit(situation: ContainerSituation, newest: ObservedContainer) -> ContainerState:
    """How the attempt before the newest ended."""
    for container in situation.observed.attempts(newest.name):
        if container.dead and container.id != newest.id:
            return ContainerState(terminated=_build_terminated(situation, container))
    return ContainerState()


def _build_terminated(situation: ContainerSituation, exited: ObservedContainer) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exit_code=exited.exit_code,
        reason=exited.reason or ("Completed" if exited.exit_code == 0 else "Error"),
        message=exited.message,
        started_at=format_epoch(exited.started_at),
        finished_at=format_epoch(exited.finished_at),
        container_id=f"{situation.runtime_name}://{exited.id}",
    )


def _build_status(
    situation: ContainerSituation,
    container: Container,
    newest: ObservedContainer,
    state: ContainerState,
    last_state: ContainerState,
    *,
    ready: bool = False,
    started: bool = False,
) -> ContainerStatus:
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=last_state,
        ready=ready,
        restart_count=newest.restart_count,
        image=newest.image or container.image,
        image_id=newest.image_ref,
        container_id=f"{situation.runtime_name}://{newest.id}",
        started=started,
    )


def _waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
