"""The restart of a whole pod in its place, which a container asks for by the way it exits.

Pure. Called by `plan`, `start_plan`, the status and the waits. Each attempt carries how often its pod had
been restarted when it was made; whoever plans or tells finds out from that and from the exits which attempts
are of the past, so that an agent that has just started judges as one that saw it all. Follows KEP-5532:
sandbox, addresses and volumes stay, preStop hooks don't run, ephemeral containers have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from agent.pods.actions import RemoveContainer
from agent.pods.backoff import compute_restart_time
from agent.pods.lifecycle import find_restart_rule
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.progress import Progress
from agent.pods.stop_plan import plan_stop
from agent.pods.wanted import Wanted, join_wanted
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, Pod

RESTART_ALL_ACTION: Final = "RestartAllContainers"


def may_restart_all(pod: Pod) -> bool:
    """Whether any exit of a container can restart the whole pod."""
    rules = (rule for container in _index(pod).values() for rule in container.restart_policy_rules)
    return any(rule.action == RESTART_ALL_ACTION for rule in rules)


def count_pod_restarts(pod: Pod, observed: ObservedPod) -> int:
    """How often the pod has been restarted, with the restart that an exit asks for just now.

    An exit asks for it only until an attempt is made that counts the restart, so no exit asks twice, and all
    exits of one round ask for the same.
    """
    if not may_restart_all(pod):
        return 0
    begun = max((each.pod_restarts for each in _list_own(pod, observed)), default=0)
    newest = ((container, observed.newest(name)) for name, container in _index(pod).items())
    asked = any(
        each is not None and each.pod_restarts == begun and _asks_for_restart(container, each)
        for container, each in newest
    )
    return begun + asked


def mark_superseded(pod: Pod, observed: ObservedPod) -> ObservedPod:
    """The same, with those attempts marked that a restart of the whole pod has put into the past."""
    restarts = count_pod_restarts(pod, observed)
    if restarts == 0:
        return observed
    own = _index(pod)
    return replace(
        observed,
        containers=tuple(
            _mark(own[each.name], each, restarts) if each.name in own else each
            for each in observed.containers
        ),
    )


def is_restarting(pod: Pod, observed: ObservedPod) -> bool:
    """Whether something of the past is left to end, or no attempt was made yet that follows it.

    Of a pod whose attempts are marked, as for all functions below.
    """
    superseded = [each for each in _list_own(pod, observed) if each.superseded]
    if not superseded:
        return False
    return any(not each.dead for each in superseded) or _is_before_first_start(pod, observed)


def compute_resume_time(pod: Pod, observed: ObservedPod) -> float | None:
    """From when on the containers may start again: the back-off of those that asked for the restart.

    None once one of them was made, or where there is no restart.
    """
    if not _is_before_first_start(pod, observed):
        return None
    return max(
        (compute_restart_time(each) for each in _list_own(pod, observed) if each.restarts_all), default=None
    )


def plan_superseded(pod: Pod, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    """What ends and goes before the containers start again, else how long they back off."""
    ends = [
        _plan_end(pod, each, progress, now)
        for each in _list_own(pod, observed)
        if each.superseded and not _is_over(each, progress)
    ]
    if ends:
        return join_wanted(*ends)
    resume_at = compute_resume_time(pod, observed)
    return Wanted() if resume_at is None or now >= resume_at else Wanted(next_look=resume_at)


def _plan_end(pod: Pod, superseded: ObservedContainer, progress: Progress, now: float) -> Wanted:
    if superseded.state is ContainerState.CREATED:
        return Wanted((RemoveContainer(superseded.name, superseded.id),))
    why = f"Container {superseded.name} will be restarted with all containers of the pod"
    return plan_stop(_index(pod)[superseded.name], superseded, progress, now, now, why)


def _is_over(container: ObservedContainer, progress: Progress) -> bool:
    return container.dead and (
        container.state is not ContainerState.UNKNOWN or container.id in progress.stopped
    )


def _mark(container: Container, each: ObservedContainer, restarts: int) -> ObservedContainer:
    if each.pod_restarts >= restarts:
        return each
    return replace(each, superseded=True, restarts_all=_asks_for_restart(container, each))


def _asks_for_restart(container: Container, exited: ObservedContainer) -> bool:
    """Whether the container ended by itself, and the first rule that matches restarts everything."""
    if exited.state is not ContainerState.EXITED or exited.cut_short or exited.replaced:
        return False
    rule = find_restart_rule(container, exited.exit_code)
    return rule is not None and rule.action == RESTART_ALL_ACTION


def _is_before_first_start(pod: Pod, observed: ObservedPod) -> bool:
    return all(each.superseded for each in _list_own(pod, observed))


def _list_own(pod: Pod, observed: ObservedPod) -> Iterator[ObservedContainer]:
    """Attempts of all but ephemeral containers."""
    own = _index(pod)
    return (each for each in observed.containers if each.name in own)


def _index(pod: Pod) -> Mapping[str, Container]:
    return {container.name: container for container in (*pod.spec.init_containers, *pod.spec.containers)}
