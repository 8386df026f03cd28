"""The status of each container as the API shows it, from what the runtime shows.

Pure. Called by `status`. States, reasons and messages are spelled as the kubelet spells them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from agent.pods.backoff import compute_restart_time
from agent.pods.goal import PodGoal, is_ephemeral, is_sidecar, iterate_containers
from agent.pods.lifecycle import (
    awaits_post_start,
    find_current_sandbox,
    has_started,
    has_started_apps,
    is_init_container,
    is_init_done,
    should_restart,
)
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.overdue import find_overdue
from agent.pods.progress import Failure, Progress
from agent.pods.restart_all import is_restarting
from kubeapi.meta import format_time
from kubeapi.pod import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    LinuxContainerUser,
)

_LAUNCH_ACTIONS: Final = ("EnsureImage", "CreateContainer", "StartContainer")
_MAXIMUM_MESSAGE_BYTES: Final = 12 * 1024  # of all containers of a pod
_LOST_EXIT_CODE: Final = 137


@dataclass(frozen=True, slots=True)
class ContainerSituation:
    """Everything one container's status follows from; `known`: what was told last, by container name."""

    goal: PodGoal
    observed: ObservedPod
    progress: Progress
    runtime_name: str
    now: float
    known: Mapping[str, ContainerStatus] = field(default_factory=dict)


def compute_container_status(situation: ContainerSituation, container: Container) -> ContainerStatus:
    """Of the newest attempt that was started; one that is only made yet shows nothing of itself, and neither
    does one whose postStart hook hasn't ended.
    """
    newest = next(
        (c for c in situation.observed.attempts(container.name) if _is_told(situation, container, c)), None
    )
    if newest is None:
        return _compute_missing(situation, container)
    if newest.running:
        return _compute_running(situation, container, newest)
    return _compute_exited(situation, container, newest)


def _is_told(situation: ContainerSituation, container: Container, attempt: ObservedContainer) -> bool:
    if attempt.running and situation.goal.termination is None:
        return not awaits_post_start(container, attempt, situation.progress)
    return attempt.running or (attempt.dead and not attempt.cut_short)


def format_epoch(seconds: float | None) -> str | None:
    """The API's Time for seconds since the epoch."""
    return None if seconds is None else format_time(datetime.fromtimestamp(seconds, UTC))


def _compute_missing(situation: ContainerSituation, container: Container) -> ContainerStatus:
    known = situation.known.get(container.name)
    failure = find_failure(situation.progress, container)
    if known is not None and known.state.terminated is not None and failure is None:
        return known  # the runtime has forgotten it
    reason = "PodInitializing" if _waits_for_init(situation, container) else "ContainerCreating"
    waiting = ContainerStatus(
        name=container.name,
        image=container.image,
        state=_compute_waiting(situation, container, reason),
        started=None if is_ephemeral(situation.goal.pod, container.name) else False,
    )
    return waiting if known is None else _add_history(situation, waiting, known)


def _add_history(
    situation: ContainerSituation, waiting: ContainerStatus, known: ContainerStatus
) -> ContainerStatus:
    """What was told before goes on; a container that ran and is nowhere to be found has ended somehow."""
    if known.state.terminated is not None:
        return replace(waiting, last_state=known.state, restart_count=known.restart_count)
    if known.state.running is None or situation.observed.newest(known.name) is not None:
        return replace(waiting, last_state=known.last_state, restart_count=known.restart_count)
    ends = situation.goal.termination is not None
    lost = _build_lost("terminated" if ends else "deleted", known)
    if ends or is_ephemeral(situation.goal.pod, known.name):
        return replace(known, state=lost, ready=False, started=False)
    return replace(waiting, last_state=lost, restart_count=known.restart_count + 1)


def _build_lost(verb: str, known: ContainerStatus) -> ContainerState:
    message = f"The container could not be located when the pod was {verb}"
    if verb == "deleted":
        message += ".  The container used to be Running"
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=_LOST_EXIT_CODE,
            reason="ContainerStatusUnknown",
            message=message,
            container_id=known.container_id,
        )
    )


def _waits_for_init(situation: ContainerSituation, container: Container) -> bool:
    pod, observed = situation.goal.pod, situation.observed
    sandbox = find_current_sandbox(pod, observed)
    if is_ephemeral(pod, container.name):
        return False
    if is_init_container(pod, container):
        return True
    if has_started_apps(pod, observed, sandbox):
        return False
    inits = pod.spec.init_containers
    return not all(is_init_done(init, observed, sandbox, situation.progress) for init in inits)


def _compute_waiting(situation: ContainerSituation, container: Container, reason: str) -> ContainerState:
    failure = find_failure(situation.progress, container)
    overdue = find_overdue(situation.progress, container.name)
    if failure is not None:
        return _waiting(failure.reason, overdue or failure.message)
    return _waiting(reason, overdue or _describe_pod_failure(situation.progress))


def _describe_pod_failure(progress: Progress) -> str:
    """What failed for the whole pod and is tried again; the kubelet tells it only in events."""
    for key in ("PrepareVolumes:volumes", "RunPodSandbox:sandbox"):
        if (failure := progress.failures.get(key)) is not None:
            return f"{failure.reason}: {failure.message}"
    return ""


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
    pod, progress = situation.goal.pod, situation.progress
    verdict = progress.verdict(running.id)
    started = has_started(container, running, progress)
    serves = not is_ephemeral(pod, container.name) and (
        is_sidecar(container) or not is_init_container(pod, container)
    )
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
    if comes_back and exited.superseded:
        return _build_status(
            situation, container, exited, _compute_restarting(situation, container), terminated
        )
    completed = is_init_container(pod, container) and not is_sidecar(container) and exited.exit_code == 0
    return _build_status(
        situation, container, exited, terminated, _older_exit(situation, exited), ready=completed
    )


def _compute_restarting(situation: ContainerSituation, container: Container) -> ContainerState:
    """Until the whole pod may start again, then as for a pod that starts."""
    if is_restarting(situation.goal.pod, situation.observed):
        message = "The container is removed because RestartAllContainers in place"
        return _waiting("RestartingAllContainers", message)
    reason = "PodInitializing" if _waits_for_init(situation, container) else "ContainerCreating"
    return _compute_waiting(situation, container, reason)


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
        if container.dead and not container.cut_short and container.id != newest.id:
            return ContainerState(terminated=_build_terminated(situation, container))
    return ContainerState()


def _build_terminated(situation: ContainerSituation, exited: ObservedContainer) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exit_code=exited.exit_code,
        reason=exited.reason or ("Completed" if exited.exit_code == 0 else "Error"),
        message=_clip_message(situation, exited.message),
        started_at=format_epoch(exited.started_at),
        finished_at=format_epoch(exited.finished_at),
        container_id=f"{situation.runtime_name}://{exited.id}",
    )


def _clip_message(situation: ContainerSituation, message: str) -> str:
    """All messages of a pod together have a bound, of which each container has its share."""
    containers = sum(1 for _ in iterate_containers(situation.goal.pod))
    share = _MAXIMUM_MESSAGE_BYTES // max(containers, 1)
    return message.encode()[:share].decode(errors="ignore")


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
        started=None if is_ephemeral(situation.goal.pod, container.name) else started,
        stop_signal=newest.stop_signal or _read_stop_signal(container),
        user=_build_user(newest),
    )


def _build_user(newest: ObservedContainer) -> ContainerUser | None:
    if (user := newest.user) is None:
        return None
    linux = LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.supplemental_groups)
    return ContainerUser(linux=linux)


def _read_stop_signal(container: Container) -> str:
    """The agent sends it where the runtime can't."""
    return (container.lifecycle.stop_signal if container.lifecycle else None) or ""


def _waiting(reason: str, message: str = "") -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
