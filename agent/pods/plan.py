"""The next actions for one pod: what it is to become against what the runtime shows.

Pure, and the only place that decides. Called by a pod's lane at each look. This module chooses between
running, halting and taking down, and holds back what is in flight or waits for a retry; `start_plan`,
`stop_plan` and `cleanup_plan` plan the parts. Follows the kubelet's computePodActions in behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.pods.actions import Action, StopContainer
from agent.pods.cleanup_plan import plan_cleanup
from agent.pods.goal import PodGoal
from agent.pods.lifecycle import is_pod_finished
from agent.pods.observed import ObservedPod
from agent.pods.progress import Progress
from agent.pods.start_plan import plan_running
from agent.pods.stop_plan import plan_halt, plan_takedown
from agent.pods.wanted import Wanted


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`actions` may all start now, side by side; `cancel` names keys in flight to give up.

    `next_look` is when to plan again even if nothing happens; `finished`: the pod is gone and its lane may
    end.
    """

    actions: tuple[Action, ...] = ()
    next_look: float | None = None
    cancel: tuple[str, ...] = ()
    finished: bool = False


def plan_pod(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float) -> PodPlan:
    """What to do now; nothing, when the pod is as wanted. `now` in seconds since the epoch."""
    wanted = _plan_wanted(goal, observed, progress, now)
    actions, retry_at = _hold_back(wanted.actions, progress, now)
    looks = [at for at in (wanted.next_look, retry_at) if at is not None]
    cancel = tuple(_choose_cancelled(goal, wanted.actions, progress))
    return PodPlan(actions, min(looks, default=None), cancel, wanted.finished)


def failure_key(action: Action) -> str:
    """Under which key a failure of this action is remembered."""
    return f"{type(action).__name__}:{action.key}"


def _plan_wanted(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    if goal.termination is not None:
        return plan_takedown(goal, goal.termination, observed, progress, now)
    if is_pod_finished(goal.pod, observed):
        return plan_halt(goal, observed, progress, now, now + goal.pod.spec.termination_grace_period_seconds)
    running = plan_running(goal.pod, observed, progress, now)
    return Wanted((*running.actions, *plan_cleanup(goal.pod, observed, progress)), running.next_look)


def _hold_back(
    actions: Iterable[Action], progress: Progress, now: float
) -> tuple[tuple[Action, ...], float | None]:
    """One action for each key that is free; the earliest retry among those that wait for one."""
    taken = set(progress.in_flight)
    chosen: list[Action] = []
    retries: list[float] = []
    for action in actions:
        failure = progress.failures.get(failure_key(action))
        if failure is not None and failure.retry_at > now:
            retries.append(failure.retry_at)
        elif action.key not in taken:
            taken.add(action.key)
            chosen.append(action)
    return tuple(chosen), min(retries, default=None)


_USELESS_ON_TERMINATION: Final = frozenset({"EnsureImage", "PrepareVolumes", "RunPostStartHook"})


def _choose_cancelled(goal: PodGoal, wanted: Iterable[Action], progress: Progress) -> Iterator[str]:
    """Calls in flight that a shorter grace period or the pod's end has made useless."""
    stops = {action.key: action.kill_at for action in wanted if isinstance(action, StopContainer)}
    for key, call in progress.in_flight.items():
        useless = goal.termination is not None and call.what in _USELESS_ON_TERMINATION
        sooner = call.kill_at is not None and stops.get(key, call.kill_at) + 1 <= call.kill_at
        if useless or sooner:
            yield key
