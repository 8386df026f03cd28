"""The next actions for one pod: what it is to become against what the runtime shows.

Pure, and the only place that decides. Called by a pod's lane at each look. This module chooses between
running, halting and taking down, and holds back what is in flight or waits for a retry; `start_plan`,
`stop_plan` and `cleanup_plan` plan the parts. Follows the kubelet's computePodActions in behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.pods.actions import Action, RunPreStopHook, StopContainer
from agent.pods.cleanup_plan import plan_cleanup
from agent.pods.goal import PodGoal
from agent.pods.lifecycle import is_pod_finished
from agent.pods.observed import ObservedPod
from agent.pods.progress import InFlight, Progress
from agent.pods.resize.plan import plan_resize
from agent.pods.restart_all import mark_superseded
from agent.pods.start_plan import plan_running
from agent.pods.stop_plan import plan_halt, plan_takedown
from agent.pods.wanted import Wanted, join_wanted


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`actions` may all start now, side by side; `cancel` names keys in flight to give up.

    `next_look` is when to plan again even if nothing happens; `finished`: the pod is gone and its lane may
    end. `held`: the keys of the failures that actions wait out.
    """

    actions: tuple[Action, ...] = ()
    next_look: float | None = None
    cancel: tuple[str, ...] = ()
    finished: bool = False
    held: frozenset[str] = frozenset()


def plan_pod(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float) -> PodPlan:
    """What to do now; nothing, when the pod is as wanted. `now` in seconds since the epoch."""
    wanted = _plan_wanted(goal, mark_superseded(goal.pod, observed), progress, now)
    actions, held, retry_at = _hold_back(wanted.actions, progress, now)
    useless = dict(_list_useless(goal, wanted.actions, progress))
    cancel = tuple(key for key, at in useless.items() if at <= now)
    later = (at for at in useless.values() if at > now)
    looks = [at for at in (wanted.next_look, retry_at, *later) if at is not None]
    return PodPlan(actions, min(looks, default=None), cancel, wanted.finished, held)


def failure_key(action: Action) -> str:
    """Under which key a failure of this action is remembered."""
    return f"{type(action).__name__}:{action.key}"


def _plan_wanted(goal: PodGoal, observed: ObservedPod, progress: Progress, now: float) -> Wanted:
    if goal.termination is not None:
        return plan_takedown(goal, goal.termination, observed, progress, now)
    if is_pod_finished(goal.pod, observed):
        return plan_halt(goal, observed, progress, now, now + goal.pod.spec.termination_grace_period_seconds)
    running = plan_running(goal.pod, observed, progress, now)
    cleanup = Wanted(tuple(plan_cleanup(goal.pod, observed, progress)))
    return join_wanted(running, plan_resize(goal, observed, progress, now), cleanup)


def _hold_back(
    actions: Iterable[Action], progress: Progress, now: float
) -> tuple[tuple[Action, ...], frozenset[str], float | None]:
    """One action for each key that is free; which failures the others wait out, and the earliest retry."""
    taken = set(progress.in_flight)
    chosen: list[Action] = []
    held: set[str] = set()
    retries: list[float] = []
    for action in actions:
        failure = progress.failures.get(failure_key(action))
        if failure is not None and failure.retry_at > now:
            held.add(failure_key(action))
            retries.append(failure.retry_at)
        elif action.key not in taken:
            taken.add(action.key)
            chosen.append(action)
    return tuple(chosen), frozenset(held), min(retries, default=None)


_USELESS_ON_TERMINATION: Final = frozenset({"EnsureImage", "PrepareVolumes", "RunPostStartHook"})
_MAKES_SOMETHING: Final = frozenset({"RunPodSandbox", "CreateContainer"})
_PATIENCE_SECONDS: Final = 10.0
"""How long a pod that ends waits for what is being made for it. Given up, its outcome is unknown, and
the runtime may show something later; waited for, its end is known.
"""


def _list_useless(goal: PodGoal, wanted: Iterable[Action], progress: Progress) -> Iterator[tuple[str, float]]:
    """Calls in flight that a shorter grace period or the pod's end makes useless, and from when on."""
    stops = {action.key: action for action in wanted if isinstance(action, StopContainer | RunPreStopHook)}
    for key, call in progress.in_flight.items():
        if goal.termination is not None and call.what in _USELESS_ON_TERMINATION:
            yield key, call.since
        elif goal.termination is not None and call.what in _MAKES_SOMETHING:
            yield key, call.since + _PATIENCE_SECONDS
        elif (stop := stops.get(key)) is not None and _ends_sooner(stop, call):
            # A stop in place of a hook in flight: the hook's time is over.
            yield key, stop.kill_at if isinstance(stop, RunPreStopHook) else call.since
        elif isinstance(stop, StopContainer) and call.what == "RunPostStartHook":
            yield key, call.since


def _ends_sooner(stop: StopContainer | RunPreStopHook, call: InFlight) -> bool:
    return call.kill_at is not None and stop.kill_at + 1 <= call.kill_at
