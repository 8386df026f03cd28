"""Who may start a pod now: a few at a time, in order, and nobody held up for long by pods that hang."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.pods.lanes.launch_queue import LaunchQueue
from kubeapi.pod import PodUID

A, B, C, D = map(PodUID, "abcd")


class Bells:
    """Remembers who was called, in order."""

    def __init__(self) -> None:
        self.called: list[PodUID] = []

    def ask(self, queue: LaunchQueue, uid: PodUID, now: float = 0.0) -> bool:
        return queue.ask(uid, lambda: self.called.append(uid), now).granted


def test_places_are_given_first_come_first_served() -> None:
    queue, bells = LaunchQueue(2), Bells()
    assert [bells.ask(queue, uid) for uid in (A, B, C, D)] == [True, True, False, False]
    queue.leave(B, 1.0)
    assert bells.called == [C]
    assert bells.ask(queue, C, 1.0)
    assert not bells.ask(queue, D, 1.0)
    assert bells.called == [C]


def test_who_has_a_place_keeps_it_and_is_never_called() -> None:
    queue, bells = LaunchQueue(1), Bells()
    assert bells.ask(queue, A)
    assert bells.ask(queue, A)
    assert bells.called == []


def test_a_wait_is_explained() -> None:
    queue, bells = LaunchQueue(1, patience_seconds=10.0), Bells()
    bells.ask(queue, A, 100.0)
    bells.ask(queue, B, 101.0)
    bells.ask(queue, C, 102.0)
    turn = queue.ask(C, lambda: None, 105.0)
    assert (
        turn.message
        == "waits for its turn: all 1 places of pods that start are taken, 1 more in line before it"
    )
    assert (turn.since, turn.ask_again_at) == (102.0, 110.0)


def test_a_pod_that_hangs_holds_its_place_no_longer_than_its_patience() -> None:
    queue, bells = LaunchQueue(1, patience_seconds=10.0), Bells()
    assert bells.ask(queue, A, 0.0)
    assert not bells.ask(queue, B, 9.9)
    assert bells.ask(queue, B, 10.0)
    queue.leave(A, 11.0)  # late, and frees nobody's place but its own
    assert not bells.ask(queue, C, 11.0)


def test_one_that_is_called_and_never_comes_holds_up_nobody_for_long() -> None:
    queue, bells = LaunchQueue(1, patience_seconds=10.0), Bells()
    bells.ask(queue, A, 0.0)
    bells.ask(queue, B, 0.0)
    bells.ask(queue, C, 0.0)
    queue.leave(A, 1.0)
    assert bells.called == [B]
    assert bells.ask(queue, C, 11.0)


def test_who_gives_up_waiting_lets_the_next_one_pass() -> None:
    queue, bells = LaunchQueue(1), Bells()
    bells.ask(queue, A)
    bells.ask(queue, B)
    bells.ask(queue, C)
    queue.leave(B, 0.0)
    queue.leave(B, 0.0)
    queue.leave(A, 0.0)
    assert bells.called == [C]


@given(st.lists(st.tuples(st.sampled_from(["ask", "leave"]), st.integers(0, 5)), max_size=40))
def test_there_are_never_more_than_places_and_none_stays_empty(steps: list[tuple[str, int]]) -> None:
    queue, bells = LaunchQueue(2, patience_seconds=1e9), Bells()
    inside: set[PodUID] = set()
    waiting: list[PodUID] = []
    for verb, number in steps:
        uid = PodUID(f"pod-{number}")
        if verb == "ask":
            if bells.ask(queue, uid):
                inside.add(uid)
            elif uid not in waiting:
                waiting.append(uid)
        else:
            queue.leave(uid, 0.0)
            inside.discard(uid)
            waiting = [each for each in waiting if each != uid]
        inside |= set(bells.called)
        waiting = [each for each in waiting if each not in bells.called]
        bells.called.clear()
        assert len(inside) <= 2
        assert not waiting or len(inside) == 2
