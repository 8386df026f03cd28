"""For every run of outcomes: thresholds hold, time goes forward, quick tries change nothing but the wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.pods.ports import ProbeKind
from agent.probes.plan import Outcome, plan_first_probe, plan_probe
from kubeapi.pod import Probe, TCPSocketAction

_probes = st.builds(
    Probe,
    tcp_socket=st.just(TCPSocketAction(port=1)),
    period_seconds=st.integers(1, 30),
    success_threshold=st.integers(1, 3),
    failure_threshold=st.integers(1, 4),
    initial_delay_seconds=st.integers(0, 20),
)
_kinds = st.sampled_from(ProbeKind)
_outcomes = st.lists(st.sampled_from(Outcome), max_size=60)
_random = st.floats(0, 1, exclude_max=True)
_lateness = st.floats(0, 40)


@given(_kinds, _probes, _outcomes, _random, _lateness)
def test_time_goes_forward_and_never_waits_longer_than_a_period(
    kind: ProbeKind, probe: Probe, outcomes: list[Outcome], random: float, late: float
) -> None:
    state = plan_first_probe(ProbeKind.READINESS, probe, 0.0, 0.0)
    for outcome in outcomes:
        now = state.due_at + late
        state = plan_probe(kind, probe, state, outcome, "", now, random)
        assert now <= state.due_at <= now + probe.period_seconds * 1.05 + 1e-6


@given(_probes, _outcomes, _random)
def test_a_result_needs_its_threshold_of_counted_outcomes(
    probe: Probe, outcomes: list[Outcome], random: float
) -> None:
    """Liveness counts every known outcome: the verdict is that of a plain model."""
    state = plan_first_probe(ProbeKind.READINESS, probe, 0.0, 0.0)
    expected: bool | None = None
    last, streak = None, 0
    for outcome in outcomes:
        state = plan_probe(ProbeKind.LIVENESS, probe, state, outcome, "", state.due_at, random)
        if outcome in (Outcome.PASSED, Outcome.FAILED):
            streak = streak + 1 if outcome is last else 1
            last = outcome
            passed = outcome is Outcome.PASSED
            if streak >= (probe.success_threshold if passed else probe.failure_threshold):
                expected = passed
        assert state.result is expected


@given(_probes, _random, st.integers(1, 40))
def test_a_container_that_never_starts_fails_no_earlier_than_its_threshold_says(
    probe: Probe, random: float, tries: int
) -> None:
    state = plan_first_probe(ProbeKind.READINESS, probe, 0.0, 0.0)
    begun = state.due_at
    for _ in range(tries):
        now = state.due_at
        state = plan_probe(ProbeKind.STARTUP, probe, state, Outcome.FAILED, "", now, random)
        if state.result is False:
            assert now - begun >= (probe.failure_threshold - 1) * probe.period_seconds * 0.95 - 1e-6
            break


@given(_probes, st.lists(st.just(Outcome.FAILED), max_size=12), _random)
def test_one_success_is_enough_to_start_where_the_threshold_is_one(
    probe: Probe, failures: list[Outcome], random: float
) -> None:
    if probe.success_threshold != 1:
        return
    state = plan_first_probe(ProbeKind.READINESS, probe, 0.0, 0.0)
    for outcome in [*failures, Outcome.PASSED]:
        state = plan_probe(ProbeKind.READINESS, probe, state, outcome, "", state.due_at, random)
    assert state.result is True
    assert state.retry_at is None
