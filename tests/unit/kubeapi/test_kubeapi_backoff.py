from __future__ import annotations

from kubeapi.backoff import Backoff


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(1.0, 10.0, 2.0, jitter=0.0)
    assert [backoff.delay(attempt, 0.7) for attempt in range(6)] == [1, 2, 4, 8, 10, 10]


def test_jitter_only_shortens() -> None:
    backoff = Backoff(4.0, 60.0)
    assert backoff.delay(0, 0.0) == 2.0
    assert 3.99 < backoff.delay(0, 0.999) < 4.0


def test_any_number_of_failures_has_a_delay() -> None:
    assert Backoff(0.1, 30.0, jitter=0.0).delay(10**6, 0.5) == 30.0
    assert Backoff(0.1, 30.0, jitter=0.0).delay(-1, 0.5) == 0.1
