"""When a probe is due and what outcomes mean, one changed fact at a time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agent.pods.ports import ProbeKind
from agent.probes.plan import (
    Outcome,
    ProbeState,
    is_settled,
    plan_first_probe,
    plan_probe,
    plan_resumed_probe,
)
from kubeapi.pod import ExecAction, HTTPGetAction, Probe

_PROBE = Probe(http_get=HTTPGetAction(port=80), period_seconds=10, failure_threshold=3, success_threshold=1)
_READY = ProbeState(True, regular_at=100.0, last=True, streak=1, passed_once=True)
_MIDDLE = 0.5  # of the jitter: exactly one period


def _run(kind: ProbeKind, state: ProbeState, *outcomes: Outcome, probe: Probe = _PROBE) -> ProbeState:
    for outcome in outcomes:
        state = plan_probe(kind, probe, state, outcome, "why", state.due_at, _MIDDLE)
    return state


def test_the_first_try_is_at_once() -> None:
    assert plan_first_probe(ProbeKind.READINESS, _PROBE, 0.2, 50.0).due_at == 50.0


def test_the_initial_delay_counts_from_the_containers_start() -> None:
    delayed = Probe(http_get=_PROBE.http_get, initial_delay_seconds=30)
    assert plan_first_probe(ProbeKind.READINESS, delayed, 10.0, 50.0).due_at == 70.0
    assert plan_first_probe(ProbeKind.READINESS, delayed, 99.0, 50.0).due_at == 50.0


@pytest.mark.parametrize(("kind", "due_at"), [(ProbeKind.LIVENESS, 55.0), (ProbeKind.READINESS, 50.5)])
def test_what_ran_before_the_agent_did_is_spread(kind: ProbeKind, due_at: float) -> None:
    assert plan_first_probe(kind, _PROBE, 3600.0, 50.0, _MIDDLE).due_at == due_at


def test_fifty_that_begin_together_drift_apart() -> None:
    source = random.Random(1)
    states = [plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 0.0) for _ in range(50)]
    for _ in range(12):
        states = [
            plan_probe(ProbeKind.READINESS, _PROBE, s, Outcome.PASSED, "", s.due_at, source.random())
            for s in states
        ]
    due = sorted(state.due_at for state in states)
    crowds = [sum(start <= at < start + 0.25 for at in due) for start in due]
    assert due[-1] - due[0] > 2.0
    assert max(crowds) < 15


def test_a_success_makes_ready_and_keeps_the_period() -> None:
    state = _run(
        ProbeKind.READINESS, plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 100.0), Outcome.PASSED
    )
    assert state == replace(_READY, regular_at=110.0)


@pytest.mark.parametrize(("jitter", "due_at"), [(0.0, 109.5), (1.0, 110.5)])
def test_the_period_has_jitter(jitter: float, due_at: float) -> None:
    state = plan_probe(ProbeKind.READINESS, _PROBE, _READY, Outcome.PASSED, "", 100.0, jitter)
    assert state.due_at == pytest.approx(due_at)


def test_failures_count_only_in_a_row() -> None:
    state = _run(ProbeKind.READINESS, _READY, Outcome.FAILED, Outcome.FAILED)
    assert state.result is True
    assert state.message == "why"
    state = _run(ProbeKind.READINESS, state, Outcome.PASSED, Outcome.FAILED, Outcome.FAILED)
    assert state.result is True
    assert _run(ProbeKind.READINESS, state, Outcome.FAILED).result is False


def test_a_success_threshold_needs_successes_in_a_row_and_no_retries_between() -> None:
    twice = Probe(http_get=_PROBE.http_get, success_threshold=2, period_seconds=10)
    state = _run(
        ProbeKind.READINESS,
        plan_first_probe(ProbeKind.READINESS, twice, 0.0, 0.0),
        Outcome.FAILED,
        probe=twice,
    )
    assert state.due_at == 10.0
    state = _run(ProbeKind.READINESS, state, Outcome.PASSED, probe=twice)
    assert state.result is None
    assert _run(ProbeKind.READINESS, state, Outcome.PASSED, probe=twice).result is True


def test_a_starting_container_is_tried_again_soon_and_ever_later() -> None:
    state, pauses = plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 0.0), []
    for _ in range(4):
        before = state.due_at
        state = _run(ProbeKind.READINESS, state, Outcome.FAILED)
        pauses.append(round(state.due_at - before, 3))
    assert pauses == [0.1, 0.15, 0.225, 0.338]
    assert state.result is None
    assert state.regular_at == 10.0


def test_the_first_success_ends_the_quick_tries() -> None:
    state = _run(
        ProbeKind.READINESS,
        plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 0.0),
        Outcome.FAILED,
        Outcome.PASSED,
    )
    assert state.result is True
    assert state.due_at == pytest.approx(10.1)
    state = _run(ProbeKind.READINESS, state, Outcome.FAILED)
    assert state.due_at == pytest.approx(20.1)


def test_quick_tries_that_start_a_process_are_rarer() -> None:
    by_exec = Probe(exec=ExecAction(command=("true",)), period_seconds=10)
    state = _run(
        ProbeKind.READINESS,
        plan_first_probe(ProbeKind.READINESS, by_exec, 0.0, 0.0),
        Outcome.FAILED,
        probe=by_exec,
    )
    assert state.due_at == 0.5


def test_quick_tries_never_use_up_the_startup_threshold() -> None:
    state = plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 0.0)
    tries = 0
    while not is_settled(ProbeKind.STARTUP, state):
        state = _run(ProbeKind.STARTUP, state, Outcome.FAILED)
        tries += 1
    assert state.result is False
    assert tries > 3
    # Three tries that count, one period apart: at 0, 10 and 20 seconds.
    assert state.regular_at == 30.0


def test_liveness_has_no_quick_tries_and_begins_alive() -> None:
    state = _run(ProbeKind.LIVENESS, plan_first_probe(ProbeKind.READINESS, _PROBE, 0.0, 0.0), Outcome.FAILED)
    assert (state.result, state.due_at) == (None, 10.0)
    state = _run(ProbeKind.LIVENESS, state, Outcome.FAILED, Outcome.FAILED)
    assert state.result is False
    assert is_settled(ProbeKind.LIVENESS, state)


def test_an_unknown_outcome_counts_for_nothing() -> None:
    state = _run(ProbeKind.READINESS, _READY, Outcome.FAILED, Outcome.FAILED)
    after = _run(ProbeKind.READINESS, state, *[Outcome.UNKNOWN, Outcome.DELAYED] * 2)
    assert (after.result, after.streak) == (True, 2)
    assert after.due_at <= state.due_at + 5.0


def test_a_late_loop_is_not_followed_by_a_burst() -> None:
    state = plan_probe(ProbeKind.READINESS, _PROBE, _READY, Outcome.PASSED, "", 165.0, _MIDDLE)
    assert state.due_at == 165.0
    state = plan_probe(ProbeKind.READINESS, _PROBE, state, Outcome.PASSED, "", 165.0, _MIDDLE)
    assert state.due_at == 175.0


def test_a_stored_result_is_resumed_within_one_period() -> None:
    state = plan_resumed_probe(_PROBE, True, 1000.0, 0.25)
    assert (state.result, state.due_at) == (True, 1002.5)
    assert _run(ProbeKind.READINESS, state, Outcome.FAILED, Outcome.FAILED).result is True


@pytest.mark.parametrize(
    ("kind", "result", "settled"),
    [
        (ProbeKind.STARTUP, None, False),
        (ProbeKind.STARTUP, True, True),
        (ProbeKind.LIVENESS, True, False),
        (ProbeKind.LIVENESS, False, True),
        (ProbeKind.READINESS, False, False),
    ],
)
def test_when_a_container_needs_no_further_try(kind: ProbeKind, result: bool | None, settled: bool) -> None:
    assert is_settled(kind, replace(_READY, result=result)) is settled
