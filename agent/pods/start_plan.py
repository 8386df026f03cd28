"""Plans a pod that is to run: volumes, sandbox, init containers in order, then sidecars and app containers.

Pure. Called by `plan`. App containers start side by side, each at its own pace; a container that can't start
yet holds up only what must come after it.
"""

from __future__ import annotations

from typing import Final

from agent.pods.actions import (
    CreateContainer,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RunPodSandbox,
    RunPostStartHook,
    StartContainer,
)
from agent.pods.backoff import compute_next_backoff, compute_restart_time
from agent.pods.goal import compute_spec_hash, find_status, is_sidecar
from agent.pods.lifecycle import (
    allows_restart,
    find_current_sandbox,
    has_started_apps,
    is_init_container,
    is_init_done,
    should_restart,
)
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.progress import Progress
from agent.pods.restart_all import count_pod_restarts, plan_superseded
from agent.pods.stop_plan import plan_stop, plan_stop_sandboxes
from agent.pods.wanted import Wanted, join_wanted
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, Pod

_KILLED_EXIT_CODE: Final = 137


def plan_running(pod: Pod, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    """The actions that bring the pod closer to running."""
    volumes = _plan_volumes(progress)
    sandbox = find_current_sandbox(pod, observed)
    if sandbox is None:
        return join_wanted(volumes, _plan_sandbox(pod, observed, progress, now))
    return join_wanted(volumes, _plan_containers(pod, observed, progress, sandbox, now))


def _plan_volumes(progress: Progress) -> Wanted:
    if not progress.volumes_ready:
        return Wanted((PrepareVolumes(),))
    return Wanted((RefreshVolumes(),)) if progress.volumes_stale else Wanted()


def _plan_sandbox(pod: Pod, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    """A new sandbox, once nothing of an older one is left running; images come meanwhile."""
    leftovers = plan_stop_sandboxes(pod, observed.sandboxes, observed, progress, now)
    if leftovers.actions:
        return leftovers
    newest = max((sandbox.attempt for sandbox in observed.sandboxes), default=-1)
    attempt = max(newest + 1, progress.attempt_floors.get("sandbox", 0))
    first = pod.spec.init_containers[:1] or pod.spec.containers
    images = tuple(
        EnsureImage(container.name, next_attempt)
        for container in first
        if not _has_image(container, next_attempt := _next_attempt(container, observed, progress), progress)
    )
    return Wanted((RunPodSandbox(attempt), *images))


def _plan_containers(
    pod: Pod, observed: ObservedPod, progress: Progress, sandbox: ObservedSandbox, now: float
) -> Wanted:
    """Ephemeral containers start whenever they appear, all others in their order, and all together once those
    of before a restart of the whole pod have ended.
    """
    ending = plan_superseded(pod, observed, progress, now)
    held_up = ending.actions or ending.next_look is not None
    return join_wanted(
        ending if held_up else _plan_ordered_containers(pod, observed, progress, sandbox, now),
        *(
            _plan_ephemeral_container(pod, container, observed, progress, sandbox, now)
            for container in pod.spec.ephemeral_containers
        ),
    )


def _plan_ordered_containers(
    pod: Pod, observed: ObservedPod, progress: Progress, sandbox: ObservedSandbox, now: float
) -> Wanted:
    parts: list[Wanted] = []
    started_apps = has_started_apps(pod, observed, sandbox)
    for container in pod.spec.init_containers:
        if is_sidecar(container) or not started_apps:
            parts.append(_plan_container(pod, container, observed, progress, sandbox, now))
        if not started_apps and not is_init_done(container, observed, sandbox, progress):
            return join_wanted(*parts)
    for container in pod.spec.containers:
        parts.append(_plan_container(pod, container, observed, progress, sandbox, now))
    return join_wanted(*parts)


def _plan_ephemeral_container(
    pod: Pod,
    container: Container,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
    now: float,
) -> Wanted:
    """Started once; an exit, even with the sandbox that it was in, is its end."""
    newest = observed.newest(container.name)
    if newest is None:
        known = find_status(pod, container.name)
        if known is not None and known.container_id:
            return Wanted()  # it ran, and the runtime has forgotten it
        return _plan_launch(pod, container, None, observed, progress, sandbox)
    if newest.state is ContainerState.CREATED and newest.sandbox_id == sandbox.id:
        return Wanted((StartContainer(container.name, newest.id),))
    if newest.state is ContainerState.CREATED:
        return Wanted((RemoveContainer(container.name, newest.id),))
    if newest.running and newest.sandbox_id != sandbox.id:
        return plan_stop(container, newest, progress, now, now, "its sandbox was replaced")
    if newest.state is ContainerState.UNKNOWN and newest.id not in progress.stopped:
        return plan_stop(container, newest, progress, now, now, "its state is unknown")
    return _plan_launch(pod, container, newest, observed, progress, sandbox) if newest.cut_short else Wanted()


def _plan_container(
    pod: Pod,
    container: Container,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
    now: float,
) -> Wanted:
    newest = observed.newest(container.name)
    if newest is None:
        return _plan_launch(pod, container, None, observed, progress, sandbox)
    if newest.sandbox_id != sandbox.id:
        return _plan_relaunch_after_sandbox(pod, container, newest, observed, progress, sandbox, now)
    match newest.state:
        case ContainerState.CREATED:
            return _plan_created(container, newest)
        case ContainerState.RUNNING:
            return _plan_started(pod, container, newest, progress, now)
        case ContainerState.UNKNOWN if newest.id not in progress.stopped:
            return plan_stop(container, newest, progress, now, now, "its state is unknown")
        case _:
            return _plan_relaunch(pod, container, newest, observed, progress, sandbox, now)


def _plan_created(container: Container, created: ObservedContainer) -> Wanted:
    """Adopts what an earlier attempt, or an earlier process, made and never started."""
    if created.spec_hash == compute_spec_hash(container):
        return Wanted((StartContainer(container.name, created.id),))
    return Wanted((RemoveContainer(container.name, created.id),))


def _plan_started(
    pod: Pod, container: Container, running: ObservedContainer, progress: Progress, now: float
) -> Wanted:
    kill_at = now + _choose_grace(pod, container, running, progress)
    if running.spec_hash != compute_spec_hash(container):
        why = _explain_stop(pod, container, "definition changed")
        return plan_stop(container, running, progress, now, kill_at, why)
    if running.id in progress.hook_failed:
        return plan_stop(container, running, progress, now, kill_at, "FailedPostStartHook")
    verdict = progress.verdict(running.id)
    if not verdict.live:
        probe = "liveness" if verdict.started else "startup"
        why = _explain_stop(pod, container, f"failed {probe} probe")
        return plan_stop(container, running, progress, now, kill_at, why)
    hook = container.lifecycle.post_start if container.lifecycle else None
    if hook is not None and running.id not in progress.post_started:
        return Wanted((RunPostStartHook(container.name, running.id),))
    return Wanted()


def _explain_stop(pod: Pod, container: Container, why: str) -> str:
    """In the kubelet's words, which say whether the container comes back."""
    returns = allows_restart(pod, container, _KILLED_EXIT_CODE)
    return f"Container {container.name} {why}{', will be restarted' if returns else ''}"


def _choose_grace(pod: Pod, container: Container, running: ObservedContainer, progress: Progress) -> int:
    """The grace of the probe that failed, where it has its own, else the pod's."""
    verdict = progress.verdict(running.id)
    probe = container.liveness_probe if verdict.started else container.startup_probe
    own = probe.termination_grace_period_seconds if probe and not verdict.live else None
    return pod.spec.termination_grace_period_seconds if own is None else own


def _plan_relaunch(
    pod: Pod,
    container: Container,
    exited: ObservedContainer,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
    now: float,
) -> Wanted:
    if not should_restart(pod, container, exited):
        return Wanted()
    restart_at = compute_restart_time(exited)
    if now < restart_at:
        return Wanted(next_look=restart_at)
    return _plan_launch(pod, container, exited, observed, progress, sandbox)


def _plan_relaunch_after_sandbox(
    pod: Pod,
    container: Container,
    previous: ObservedContainer,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
    now: float,
) -> Wanted:
    """In a new sandbox every init container runs again; an app container only if its policy says so."""
    if previous.running:
        return plan_stop(container, previous, progress, now, now, "its sandbox was replaced")
    if previous.state is ContainerState.CREATED:
        # A start of it may still be under way in the runtime: it goes before there is another.
        return Wanted((RemoveContainer(container.name, previous.id),))
    if is_init_container(pod, container) or not previous.dead:
        return _plan_launch(pod, container, previous, observed, progress, sandbox)
    return _plan_relaunch(pod, container, previous, observed, progress, sandbox, now)


def _plan_launch(
    pod: Pod,
    container: Container,
    previous: ObservedContainer | None,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
) -> Wanted:
    attempt = _next_attempt(container, observed, progress)
    if not _has_image(container, attempt, progress):
        return Wanted((EnsureImage(container.name, attempt),))
    if not progress.volumes_ready:
        return Wanted()
    return Wanted(
        (
            CreateContainer(
                container.name,
                sandbox.id,
                attempt,
                restart_count=_count_restarts(pod, container, previous),
                backoff_seconds=compute_next_backoff(previous),
                pod_restarts=count_pod_restarts(pod, observed),
            ),
        )
    )


def _count_restarts(pod: Pod, container: Container, previous: ObservedContainer | None) -> int:
    """How often the container has been started again, with the attempt that follows `previous`.

    A runtime that has lost its containers, as by a wiped disk, leaves the count to the pod's status.
    """
    if previous is None:
        known = find_status(pod, container.name)
        return 0 if known is None else known.restart_count + bool(known.container_id)
    return previous.restart_count if previous.cut_short else previous.restart_count + 1


def _next_attempt(container: Container, observed: ObservedPod, progress: Progress) -> int:
    newest = max((attempt.attempt for attempt in observed.attempts(container.name)), default=-1)
    return max(newest + 1, progress.attempt_floors.get(f"container/{container.name}", 0))


def _has_image(container: Container, attempt: int, progress: Progress) -> bool:
    ready = progress.images.get(container.name)
    return ready is not None and ready.attempt == attempt
