"""How containers are stopped: hooks first, signals in order, and time for a process in any case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.checkpoint.records import PodRecord
from agent.pods.actions import RunPreStopHook, StopContainer
from agent.pods.desired import compute_goal, list_post_started, list_pre_stopped
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, SandboxID
from agent.pods.progress import InFlight, Progress
from agent.runtime.stop_signal import parse_signal
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, Lifecycle, LifecycleHandler, SleepAction
from tests import builders

NOW = 1000.0
SANDBOX = ObservedSandbox(SandboxID("s0"), 0, True, 900.0, ("10.1.0.1",))
HOOKED = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=5)))
DELETED = Termination(Ending.DELETED, since=NOW - 10, grace_seconds=30)


def running(container: Container, **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(f"{container.name}-0"),
        sandbox_id=SANDBOX.id,
        name=container.name,
        attempt=0,
        state=ContainerState.RUNNING,
        created_at=910.0,
        started_at=911.0,
        spec_hash=compute_spec_hash(container),
    )
    return replace(good, **changes)


def plan(
    *containers: Container,
    sidecars: tuple[Container, ...] = (),
    progress: Progress | None = None,
    termination: Termination = DELETED,
    ended: tuple[str, ...] = (),
    **changes: Any,
) -> PodPlan:
    pod = builders.pod(spec={"containers": containers, "init_containers": sidecars})
    seen = tuple(
        running(each, state=ContainerState.EXITED, finished_at=NOW, exit_code=0)
        if each.name in ended
        else running(each, **changes)
        for each in (*containers, *sidecars)
    )
    known = progress or Progress(volumes={})
    return plan_pod(PodGoal(pod, termination), ObservedPod((SANDBOX,), seen), known, NOW)


def sidecar(name: str, **more: Any) -> Container:
    return builders.container(name, restart_policy="Always", **more)


def test_hooks_of_all_begin_at_once_and_signals_come_in_order() -> None:
    main, hooked = builders.container("main"), builders.container("hooked", lifecycle=HOOKED)
    one, two = sidecar("one", lifecycle=HOOKED), sidecar("two")
    kill_at = NOW + 20

    first = plan(main, hooked, sidecars=(one, two))
    parted = Progress(volumes={}, pre_stopped=frozenset({ContainerID("hooked-0"), ContainerID("one-0")}))
    second = plan(main, hooked, sidecars=(one, two), progress=parted, ended=("main", "hooked"))
    third = plan(main, hooked, sidecars=(one, two), progress=parted, ended=("main", "hooked", "two"))

    assert first.actions == (
        StopContainer("main", ContainerID("main-0"), kill_at),
        RunPreStopHook("hooked", ContainerID("hooked-0"), kill_at),
        RunPreStopHook("one", ContainerID("one-0"), kill_at),
    )
    assert second.actions == (StopContainer("two", ContainerID("two-0"), kill_at),)
    assert third.actions == (StopContainer("one", ContainerID("one-0"), kill_at),)


def test_a_process_gets_two_seconds_however_late_it_is() -> None:
    late = Termination(Ending.DELETED, since=NOW - 100, grace_seconds=30)
    hooked = builders.container("web", lifecycle=HOOKED)

    assert plan(hooked, termination=late).actions == (StopContainer("web", ContainerID("web-0"), NOW + 2),)


def test_a_hook_is_given_up_when_a_shorter_grace_period_is_over() -> None:
    hooked = builders.container("web", lifecycle=HOOKED)
    long = InFlight("RunPreStopHook", NOW - 100, kill_at=NOW + 500)
    busy = Progress(volumes={}, in_flight={"container/web": long})
    over = Termination(Ending.DELETED, since=NOW - 100, grace_seconds=30)

    assert plan(hooked, progress=busy).cancel == ()
    assert plan(hooked, progress=busy, termination=over).cancel == ("container/web",)


@pytest.mark.parametrize(
    ("asked", "reported", "sent"),
    [(None, "", ""), ("SIGUSR1", "", "SIGUSR1"), ("SIGUSR1", "SIGUSR1", ""), (None, "SIGTERM", "")],
    ids=["none", "the runtime doesn't know it", "the runtime sends it", "the image's"],
)
def test_a_signal_that_the_runtime_does_not_know_is_sent_by_us(
    asked: str | None, reported: str, sent: str
) -> None:
    web = builders.container("web", lifecycle=Lifecycle(stop_signal=asked))

    (stop,) = plan(web, stop_signal=reported).actions

    assert isinstance(stop, StopContainer)
    assert stop.signal == sent


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("SIGUSR1", 10),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("SIGRTMAX-2", 62),
        ("SIGRTMIN-1", None),
        ("SIGNOTHING", None),
        ("__class__", None),
        ("", None),
    ],
)
def test_signals_are_read_as_the_api_spells_them(name: str, number: int | None) -> None:
    assert parse_signal(name) == number


# --- memory -------------------------------------------------------------------------------------------------


def test_only_hooks_of_containers_that_are_there_are_remembered() -> None:
    web = builders.container("web")
    progress = Progress(pre_stopped=frozenset({ContainerID("web-0"), ContainerID("long-gone")}))

    assert list_pre_stopped(progress, ObservedPod((SANDBOX,), (running(web),))) == ("web-0",)


def test_only_hooks_of_containers_that_are_there_and_have_one_are_remembered() -> None:
    hook = LifecycleHandler(sleep=SleepAction(seconds=1))
    web = builders.container("web", lifecycle=Lifecycle(post_start=hook))
    plain = builders.container("plain")
    progress = Progress(
        post_started=frozenset({ContainerID("web-0"), ContainerID("plain-0"), ContainerID("long-gone")})
    )
    observed = ObservedPod((SANDBOX,), (running(web), running(plain)))

    pod, unhooked = (builders.pod(spec={"containers": each}) for each in ((web, plain), (plain,)))
    assert list_post_started(pod, progress, observed) == ("web-0",)
    assert list_post_started(pod, Progress(), observed) == ()
    assert list_post_started(unhooked, progress, observed) is None


def record(**status: Any) -> PodRecord:
    pod = builders.pod(spec={"active_deadline_seconds": 60}, status=status)
    return PodRecord(pod=pod, start_time=0.0)


BEGUN = builders.NOW.timestamp() - 70  # as the good pod's status says


def test_a_deadline_counts_from_the_start_that_the_status_tells() -> None:
    assert compute_goal(record(), BEGUN + 59).termination is None
    found = compute_goal(record(), BEGUN + 60).termination
    assert found is not None
    assert (found.ending, found.reason) == (Ending.FAILED, "DeadlineExceeded")


def test_a_deadline_that_has_passed_stays_passed_and_one_of_an_ended_pod_never_comes() -> None:
    failed = compute_goal(record(phase="Failed", reason="DeadlineExceeded"), BEGUN + 1000).termination
    ended = compute_goal(record(phase="Succeeded"), BEGUN + 1000).termination

    assert (failed and failed.reason, ended) == ("DeadlineExceeded", None)


def test_a_disruption_is_remembered_with_the_rejection() -> None:
    rejected = msgspec.structs.replace(record(), rejection=("Terminated", "shutdown"), disrupted=True)

    found = compute_goal(rejected, BEGUN).termination

    assert found is not None
    assert (found.reason, found.message, found.disruption) == ("Terminated", "shutdown", True)
