"""Plans the end of containers, sandboxes and pods: hooks, signals, then teardown in an order that always
ends.

Pure. Called by `plan`, and by `start_plan` where one container must be replaced. Order: app containers
together, then sidecars in reverse order, each with its preStop hook first; then the sandbox, the volumes, and
for a pod that goes away everything else it left on the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.pods.actions import (
    Action,
    DeletePod,
    RemoveContainer,
    RemovePodFiles,
    RemovePodSandbox,
    RemoveVolumes,
    RunPreStopHook,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.goal import Ending, PodGoal, Termination, find_container, is_sidecar
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.progress import Progress
from agent.pods.wanted import Wanted, join_wanted
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, Pod

MINIMUM_GRACE_SECONDS: Final = 2.0
"""What a process gets after its stop signal however late it is, for hooks and earlier containers may have
used up the grace period.
"""

_LEAVE_SECONDS: Final = 10.0
"""Rules change in milliseconds; a proxy that takes longer than this is broken, and processes need the rest of
the grace period for themselves.
"""


def plan_stop(
    container: Container | None,
    running: ObservedContainer,
    progress: Progress,
    now: float,
    kill_at: float,
    why: str = "",
) -> Wanted:
    """The preStop hook while there is time and it hasn't run, then the stop itself."""
    hook = container.lifecycle.pre_stop if container and container.lifecycle else None
    if hook is not None and running.running and running.id not in progress.pre_stopped and kill_at > now:
        return Wanted((RunPreStopHook(running.name, running.id, kill_at),))
    last_call = max(kill_at, now + MINIMUM_GRACE_SECONDS)
    return Wanted(
        (StopContainer(running.name, running.id, last_call, why, _choose_signal(container, running)),)
    )


def _choose_signal(container: Container | None, running: ObservedContainer) -> str:
    """Empty where the runtime sends the right one by itself: it reports the one that it will send."""
    wanted = container.lifecycle.stop_signal if container and container.lifecycle else None
    return "" if wanted is None or running.stop_signal or not running.running else wanted


def plan_stop_sandboxes(
    pod: Pod,
    sandboxes: Iterable[ObservedSandbox],
    observed: ObservedPod,
    progress: Progress,
    now: float,
) -> Wanted:
    """Stops what runs in these sandboxes, then them; nothing once each was stopped by us."""
    doomed = tuple(sandbox for sandbox in sandboxes if sandbox.ready or sandbox.id not in progress.stopped)
    ids = {sandbox.id for sandbox in doomed}
    alive = [c for c in observed.containers if c.sandbox_id in ids and _is_alive(c, progress)]
    if alive:
        kill_at = now + pod.spec.termination_grace_period_seconds
        return join_wanted(
            *(plan_stop(find_container(pod, c.name), c, progress, now, kill_at) for c in alive)
        )
    return Wanted(tuple(StopPodSandbox(sandbox.id) for sandbox in doomed))


def plan_halt(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float, kill_at: float) -> Wanted:
    """Nothing runs and no volume is mounted; dead containers stay for their logs and their exit codes."""
    stops = _plan_stop_containers(goal.pod, observed, progress, now, kill_at)
    if stops.actions or _is_busy(progress):
        return stops
    actions: list[Action] = [
        StopPodSandbox(sandbox.id)
        for sandbox in observed.sandboxes
        if sandbox.ready or sandbox.id not in progress.stopped
    ]
    # A start whose outcome nobody knows may still be under way, and outlives even its sandbox: the runtime
    # doesn't remove such a container before it is known what became of it.
    unstarted = [c for c in observed.containers if c.state is ContainerState.CREATED]
    actions += (RemoveContainer(container.name, container.id) for container in unstarted)
    if not progress.volumes_removed and not unstarted:
        actions.append(RemoveVolumes())
    return Wanted(tuple(actions))


def plan_takedown(
    goal: PodGoal, termination: Termination, observed: ObservedPod, progress: Progress, now: float
) -> Wanted:
    """Halts the pod; one that is deleted or gone then leaves nothing behind."""
    halt = plan_halt(goal, observed, progress, now, termination.kill_at)
    leave_until = compute_leave_until(termination)
    if (
        not progress.released
        and now < leave_until
        and any(isinstance(a, StopContainer) for a in halt.actions)
    ):
        return Wanted(tuple(a for a in halt.actions if not isinstance(a, StopContainer)), leave_until)
    if halt.actions or _is_busy(progress) or termination.ending is Ending.FAILED:
        return halt
    if progress.in_flight:
        return Wanted()
    if not observed.empty:
        return Wanted(tuple(_plan_removals(observed)))
    if not progress.files_removed:
        return Wanted((RemovePodFiles(),))
    if termination.ending is Ending.DELETED and not goal.static and not progress.object_deleted:
        return Wanted((DeletePod(),))
    return Wanted(finished=True)


def compute_leave_until(termination: Termination) -> float:
    """Until when a stop signal waits for the Services to send their clients elsewhere."""
    return termination.since + min(termination.grace_seconds / 2, _LEAVE_SECONDS)


def _plan_removals(observed: ObservedPod) -> Iterable[Action]:
    """A sandbox takes its containers along."""
    sandboxes = {sandbox.id for sandbox in observed.sandboxes}
    for sandbox in observed.sandboxes:
        yield RemovePodSandbox(sandbox.id)
    for container in observed.containers:
        if container.sandbox_id not in sandboxes:
            yield RemoveContainer(container.name, container.id)


def _plan_stop_containers(
    pod: Pod, observed: ObservedPod, progress: Progress, now: float, kill_at: float
) -> Wanted:
    """Every preStop hook begins at once; the stop signals come in order, as one after another has ended."""
    alive = [container for container in observed.containers if _is_alive(container, progress)]
    turn = {container.id for container in _choose_next_stops(pod, alive)}
    wanted = {c.id: plan_stop(find_container(pod, c.name), c, progress, now, kill_at) for c in alive}
    return join_wanted(
        *(
            each if id_ in turn else Wanted(tuple(a for a in each.actions if isinstance(a, RunPreStopHook)))
            for id_, each in wanted.items()
        )
    )


def _choose_next_stops(pod: Pod, alive: list[ObservedContainer]) -> list[ObservedContainer]:
    """All but sidecars, then the last sidecar that is left."""
    sidecars = [init.name for init in pod.spec.init_containers if is_sidecar(init)]
    first = [container for container in alive if container.name not in sidecars]
    if not first:
        last = max((sidecars.index(container.name) for container in alive), default=-1)
        first = [container for container in alive if container.name == sidecars[last]]
    return first


def _is_alive(container: ObservedContainer, progress: Progress) -> bool:
    if container.state is ContainerState.UNKNOWN:
        return container.id not in progress.stopped
    return container.running


def _is_busy(progress: Progress) -> bool:
    """A call in flight may still make or change a sandbox or a container."""
    return any(key == "sandbox" or key.startswith("container/") for key in progress.in_flight)
