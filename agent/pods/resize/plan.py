"""Plans how allocated resources reach the kernel: the pod's cgroup widened first, containers, then narrowed.

Pure. Called by `plan` beside what makes the pod run. What a running container has follows from its
annotation and the checkpoint, so that a restart of the agent finishes what was begun. A resource whose resize
policy is RestartContainer is given by replacing the container. Follows KEP-1287.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec

from agent.checkpoint.records import ResourceRecord
from agent.pods.actions import Action, UpdateContainerResources, UpdatePodCgroup
from agent.pods.goal import PodGoal
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.progress import Progress
from agent.pods.resize.wish import has_changed, list_resizable, widen, with_resources
from agent.pods.stop_plan import plan_stop
from agent.pods.wanted import Wanted, join_wanted
from agent.resources.pod_limits import compute_pod_limits
from agent.resources.requests import COMPUTE, read_amount
from kubeapi.pod import Container, ResourceRequirements

_RESTART: Final = "RestartContainer"


def plan_resize(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    """The next actions of a resize; nothing where every running container has what is allocated to it."""
    changes = tuple(_list_changes(goal, observed))
    if not changes and not goal.resources.in_progress:
        return Wanted()
    if "sandbox" in progress.in_flight:
        return Wanted()  # it sets the pod's limits, too
    # Wide enough for each container before and after its change, in whichever order they come.
    widest = {container.name: widen(found, container.resources) for container, _, found in changes}
    limits = compute_pod_limits(with_resources(goal.pod, widest))
    if progress.pod_limits != limits:
        return Wanted((UpdatePodCgroup(limits),))
    return join_wanted(*(_plan_change(goal, *change, progress, now) for change in changes))


def compute_resource_record(goal: PodGoal, observed: ObservedPod, progress: Progress) -> ResourceRecord:
    """What the checkpoint keeps after a look: whether a resize goes on, and nothing of containers long gone.

    It goes on until all that was allocated is with the kernel, the pod's own limits included.
    """
    resources = goal.resources
    known = {container.id for container in observed.containers}
    actuated = {name: value for name, value in resources.actuated.items() if name in known}
    if goal.termination is not None:
        return resources
    open_ends = _has_open_ends(goal, observed)
    unsettled = resources.in_progress and progress.pod_limits != compute_pod_limits(goal.pod)
    return msgspec.structs.replace(resources, actuated=actuated, in_progress=open_ends or unsettled)


def _has_open_ends(goal: PodGoal, observed: ObservedPod) -> bool:
    if any(True for _ in _list_changes(goal, observed)):
        return True
    newest = (observed.newest(container.name) for container in list_resizable(goal.pod))
    return any(attempt is not None and attempt.replaced for attempt in newest)


def find_actuated(goal: PodGoal, container: ObservedContainer) -> ResourceRequirements | None:
    """What this attempt has of CPU and memory: as it was last given, else as it was made with."""
    return goal.resources.actuated.get(container.id, container.resources)


def mark_replaced(goal: PodGoal, observed: ObservedPod) -> ObservedPod:
    """The same, with those exits marked that make room for an attempt with other resources.

    Such a container ran when its resources were allocated and its policy asks for a restart: it comes back
    at once, whatever its exit code and restart policy say.
    """
    since = goal.resources.allocated_at
    if since is None or goal.termination is not None:
        return observed
    allocated = {container.name: container for container in list_resizable(goal.pod)}
    containers = tuple(
        replace(each, replaced=_is_replaced(goal, allocated.get(each.name), each, since))
        if each.dead
        else each
        for each in observed.containers
    )
    return observed if containers == observed.containers else replace(observed, containers=containers)


def _is_replaced(goal: PodGoal, container: Container | None, exited: ObservedContainer, since: float) -> bool:
    actuated = find_actuated(goal, exited)
    if container is None or actuated is None or exited.finished_at is None or exited.finished_at < since:
        return False
    return _needs_restart(container, actuated)


def _list_changes(
    goal: PodGoal, observed: ObservedPod
) -> Iterator[tuple[Container, ObservedContainer, ResourceRequirements]]:
    """Containers that live and have something else than is allocated, with what they have."""
    for container in list_resizable(goal.pod):
        newest = observed.newest(container.name)
        if newest is None or newest.dead:
            continue
        actuated = find_actuated(goal, newest)
        if actuated is not None and has_changed(actuated, container.resources):
            yield container, newest, actuated


def _plan_change(
    goal: PodGoal,
    container: Container,
    newest: ObservedContainer,
    actuated: ResourceRequirements,
    progress: Progress,
    now: float,
) -> Wanted:
    if not newest.running:
        return Wanted()  # it is started as it was made, and changed then
    if _needs_restart(container, actuated):
        kill_at = now + goal.pod.spec.termination_grace_period_seconds
        why = f"Container {container.name} resize requires restart"
        return plan_stop(container, newest, progress, now, kill_at, why)
    update: Action = UpdateContainerResources(container.name, newest.id, actuated, container.resources)
    return Wanted((update,))


def _needs_restart(container: Container, actuated: ResourceRequirements) -> bool:
    restarted = {each.resource_name for each in container.resize_policy if each.restart_policy == _RESTART}
    wanted = container.resources
    return any(
        name in restarted
        and (
            read_amount(actuated.requests, name) != read_amount(wanted.requests, name)
            or read_amount(actuated.limits, name) != read_amount(wanted.limits, name)
        )
        for name in COMPUTE
    )
