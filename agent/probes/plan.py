"""When a probe is due, and what a run of outcomes means: thresholds, start-up retries, jitter.

Pure: times are seconds on one monotonic clock, randomness arrives as an argument. Called by `runner`. Follows
the "Configure Liveness, Readiness and Startup Probes" page. One thing is ours: until a readiness or startup
probe has passed once, it is also tried between its regular times; such a try can only pass, its failure
counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from agent.pods.ports import ProbeKind
from kubeapi.pod import Probe

_FIRST_RETRY_SECONDS: Final = 0.1
_FIRST_EXEC_RETRY_SECONDS: Final = 0.5  # each try starts a process in the container
_RETRY_FACTOR: Final = 1.5
_JITTER: Final = 0.1
_UNKNOWN_RETRY_SECONDS: Final = 1.0
_LONG_RUNNING_SPREAD_SECONDS: Final = 1.0


class Outcome(Enum):
    """UNKNOWN: the attempt says nothing of the container, because the probe can't be made as it is written,
    or the runtime got in the way. DELAYED: the same, because the agent itself stood still.
    """

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class ProbeState:
    """result: the verdict after thresholds, None before the first. streak: equal counted outcomes in a row.

    regular_at: the next try that counts. retry_at: the next try between, None when there is none. retries:
    how many of those were made. passed_once: the start-up is over, failures are news. message: the last
    failure, empty after a success.
    """

    result: bool | None
    regular_at: float
    retry_at: float | None = None
    last: bool | None = None
    streak: int = 0
    retries: int = 0
    passed_once: bool = False
    message: str = ""

    @property
    def due_at(self) -> float:
        return self.regular_at if self.retry_at is None else min(self.regular_at, self.retry_at)


def plan_first_probe(
    kind: ProbeKind, probe: Probe, age_seconds: float, now: float, random: float = 0.0
) -> ProbeState:
    """A container that has run for `age_seconds`: due at once, or when its initial delay is over.

    One that ran before the agent did is spread over a period, or over a second where somebody waits for it.
    """
    wait = probe.initial_delay_seconds - age_seconds
    if wait < -probe.period_seconds:
        wait = random * (probe.period_seconds if kind is ProbeKind.LIVENESS else _LONG_RUNNING_SPREAD_SECONDS)
    return ProbeState(None, now + max(wait, 0.0))


def plan_resumed_probe(probe: Probe, result: bool, now: float, random: float) -> ProbeState:
    """A container whose result an earlier run of the agent stored: due at a random time within one period."""
    return ProbeState(result, now + probe.period_seconds * random, last=result, streak=1, passed_once=True)


def plan_probe(
    kind: ProbeKind,
    probe: Probe,
    state: ProbeState,
    outcome: Outcome,
    message: str,
    now: float,
    random: float,
) -> ProbeState:
    """The state after one try that was due at `state.due_at` and ended `now`; `random` is in [0, 1)."""
    counts = does_count(state)
    if not counts and outcome is not Outcome.PASSED:
        # A try that took long may end after the next regular time: that one is then due at once.
        late = replace(state, message=message or state.message, regular_at=max(state.regular_at, now))
        return _plan_retry(probe, late, now)
    if outcome in (Outcome.UNKNOWN, Outcome.DELAYED):
        again = now + min(_UNKNOWN_RETRY_SECONDS, probe.period_seconds)
        return replace(state, regular_at=again, retry_at=None)
    passed = outcome is Outcome.PASSED
    streak = state.streak + 1 if state.last is passed else 1
    threshold = probe.success_threshold if passed else probe.failure_threshold
    following = replace(
        state,
        result=passed if streak >= threshold else state.result,
        last=passed,
        streak=streak,
        regular_at=_next_regular(probe, state.regular_at, now, random),
        message="" if passed else message,
    )
    if passed or state.passed_once or kind is ProbeKind.LIVENESS or probe.success_threshold > 1:
        return replace(following, retry_at=None, passed_once=state.passed_once or passed)
    return _plan_retry(probe, following, now)


def does_count(state: ProbeState) -> bool:
    """Whether the next try is a regular one, whose failure means something."""
    return state.retry_at is None or state.regular_at <= state.retry_at


def is_settled(kind: ProbeKind, state: ProbeState) -> bool:
    """Whether this container needs no further try: it has started, or it is to be restarted."""
    match kind:
        case ProbeKind.STARTUP:
            return state.result is not None
        case ProbeKind.LIVENESS:
            return state.result is False
        case ProbeKind.READINESS:
            return False


def _plan_retry(probe: Probe, state: ProbeState, now: float) -> ProbeState:
    first = _FIRST_EXEC_RETRY_SECONDS if probe.exec is not None else _FIRST_RETRY_SECONDS
    pause = min(first * _RETRY_FACTOR**state.retries, float(probe.period_seconds))
    return replace(state, retry_at=now + pause, retries=state.retries + 1)


def _next_regular(probe: Probe, regular_at: float, now: float, random: float) -> float:
    """One period on, jittered; a try between that passed doesn't move the rhythm earlier than one period from
    now.
    """
    period = probe.period_seconds * (1 - _JITTER / 2 + _JITTER * random)
    return now + period if now < regular_at else max(regular_at + period, now)
