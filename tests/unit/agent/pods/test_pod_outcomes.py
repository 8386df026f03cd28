"""What a lane remembers of actions, and what goals follow from its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.checkpoint.records import PodRecord
from agent.pods.actions import CreateContainer, EnsureImage, RunPodSandbox, RunPostStartHook, StartContainer
from agent.pods.backoff import compute_next_backoff, compute_restart_time
from agent.pods.desired import build_orphan, compute_goal, merge_status, was_admitted
from agent.pods.goal import Ending
from agent.pods.observed import ObservedContainer
from agent.pods.outcomes import HookFailed, ImageEnsured, note_failure, note_success
from agent.pods.ports import ContainerID, LocalImage, SandboxID, Unavailable
from agent.pods.progress import Progress, ReadyImage
from agent.runtime.errors import RuntimeDeadlineExceeded, RuntimeNameReserved, RuntimeNotFound
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeSandbox
from kubeapi.meta import Condition
from kubeapi.pod import PodStatus, PodUID
from tests import builders

NOW = 1000.0
CREATE = CreateContainer("web", SandboxID("s0"), 4, 1, 10.0)
IMAGE = LocalImage("sha256:x", 0, "")


# --- outcomes -----------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_later_and_later() -> None:
    progress, delays = Progress(), []
    for _ in range(9):
        progress = note_failure(progress, CREATE, Unavailable("Why", "because"), NOW, random=1.0)
        failure = progress.failures["CreateContainer:container/web"]
        delays.append(failure.retry_at - NOW)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert (failure.reason, failure.message, failure.count) == ("Why", "because", 9)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (RunPodSandbox(0), "FailedCreatePodSandBox"),
        (EnsureImage("web", 0), "ErrImagePull"),
        (CREATE, "CreateContainerError"),
        (StartContainer("web", ContainerID("c")), "RunContainerError"),
    ],
)
def test_failures_have_the_kubelets_reasons(action: Any, reason: str) -> None:
    progress = note_failure(Progress(), action, RuntimeDeadlineExceeded("late"), NOW, 0.5)
    (failure,) = progress.failures.values()
    assert failure.reason == reason


def test_a_reserved_name_is_skipped_the_next_time() -> None:
    progress = note_failure(Progress(), CREATE, RuntimeNameReserved("taken"), NOW, 0.5)
    assert progress.attempt_floors == {"container/web": 5}


def test_an_unknown_outcome_keeps_the_attempt() -> None:
    progress = note_failure(Progress(), CREATE, RuntimeDeadlineExceeded("late"), NOW, 0.5)
    assert progress.attempt_floors == {}


def test_a_vanished_image_is_fetched_again() -> None:
    ready = Progress(images={"web": ReadyImage(4, IMAGE)})
    assert note_failure(ready, CREATE, RuntimeNotFound("no image"), NOW, 0.5).images == {}


def test_success_ends_the_failure() -> None:
    failed = note_failure(Progress(), CREATE, Unavailable("Why", "because"), NOW, 0.5)
    assert note_success(failed, CREATE, None).failures == {}


def test_a_started_container_forgets_what_kept_it_waiting() -> None:
    failed = note_failure(Progress(), EnsureImage("web", 4), Unavailable("Why", "because"), NOW, 0.5)
    assert note_success(failed, StartContainer("web", ContainerID("c")), None).failures == {}


def test_an_image_is_for_one_attempt() -> None:
    progress = note_success(Progress(), EnsureImage("web", 4), ImageEnsured(IMAGE))
    assert progress.images == {"web": ReadyImage(4, IMAGE)}
    assert note_success(progress, CREATE, None).images == {}


def test_a_hook_that_failed_is_remembered_as_such() -> None:
    hook = RunPostStartHook("web", ContainerID("c"))
    assert note_success(Progress(), hook, None).post_started == {"c"}
    failed = note_success(Progress(), hook, HookFailed("no"))
    assert not failed.post_started
    assert failed.hook_failed == {"c"}


# --- back-off -----------------------------------------------------------------------------------------------


def exited(backoff: float, ran: float) -> ObservedContainer:
    return ObservedContainer(
        id=ContainerID("c"),
        sandbox_id=SandboxID("s"),
        name="web",
        attempt=0,
        state=ContainerState.EXITED,
        created_at=0.0,
        started_at=0.0,
        finished_at=ran,
        backoff_seconds=backoff,
    )


def test_the_back_off_doubles_to_five_minutes() -> None:
    delays, previous = [], exited(0, 1)
    for _ in range(8):
        delays.append(compute_next_backoff(previous))
        previous = exited(delays[-1], 1)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert compute_next_backoff(None) == 0


def test_ten_minutes_of_running_forgive_everything() -> None:
    assert compute_restart_time(exited(300, 599)) == 899
    assert compute_restart_time(exited(300, 600)) == 600
    assert compute_next_backoff(exited(300, 600)) == 10


# --- goals --------------------------------------------------------------------------------------------------

RECORD = PodRecord(pod=builders.pod(), start_time=NOW - 100)


def deleted(**metadata: Any) -> PodRecord:
    pod = builders.pod(metadata={"deletion_timestamp": builders.at(0), **metadata})
    return msgspec.structs.replace(RECORD, pod=pod)


def test_a_pod_that_is_wanted_has_no_end() -> None:
    assert compute_goal(RECORD, NOW).termination is None


def test_a_deleted_pods_grace_counts_from_when_it_was_seen() -> None:
    found = compute_goal(deleted(deletion_grace_period_seconds=7), NOW).termination
    assert found is not None
    assert (found.ending, found.since, found.kill_at) == (Ending.DELETED, NOW, NOW + 7)
    later = msgspec.structs.replace(deleted(), terminating_since=NOW - 50)
    found = compute_goal(later, NOW).termination
    assert found is not None
    assert found.kill_at == NOW - 20


def test_even_without_grace_there_is_a_second() -> None:
    found = compute_goal(deleted(deletion_grace_period_seconds=0), NOW).termination
    assert found is not None
    assert found.grace_seconds == 1


def test_being_gone_goes_before_being_deleted() -> None:
    found = compute_goal(msgspec.structs.replace(deleted(), gone=True), NOW).termination
    assert found is not None
    assert found.ending is Ending.GONE


def test_a_rejection_and_a_deadline_fail_the_pod() -> None:
    rejected = msgspec.structs.replace(RECORD, rejection=("OutOfcpu", "no"))
    found = compute_goal(rejected, NOW).termination
    assert found is not None
    assert (found.ending, found.reason, found.message) == (Ending.FAILED, "OutOfcpu", "no")
    unknown = {"start_time": None}
    slow = msgspec.structs.replace(
        RECORD, pod=builders.pod(spec={"active_deadline_seconds": 100}, status=unknown)
    )
    assert compute_goal(slow, NOW - 1).termination is None
    found = compute_goal(slow, NOW).termination
    assert found is not None
    assert found.reason == "DeadlineExceeded"


def test_our_status_goes_on_with_the_conditions_of_others() -> None:
    ready, gate = Condition(type="Ready", status="True"), Condition(type="gate", status="True")
    known = PodStatus(phase="Running", conditions=(ready, Condition(type="gate", status="False")))
    stale = PodStatus(phase="Pending", conditions=(Condition(type="Ready", status="False"), gate))
    assert merge_status(known, stale) == PodStatus(phase="Running", conditions=(ready, gate))
    assert merge_status(known, PodStatus(phase="Failed")).phase == "Failed"
    assert merge_status(known, PodStatus()) == known


def test_a_pod_with_a_start_time_was_admitted_before() -> None:
    assert was_admitted(builders.pod())
    assert not was_admitted(builders.pending_pod())


def test_an_orphan_is_known_by_its_labels() -> None:
    sandbox = RuntimeSandbox(SandboxID("s"), PodUID("u"), "web", "default", 0, True, 0.0)
    container = RuntimeContainer(
        ContainerID("c"),
        SandboxID("s"),
        "main",
        0,
        ContainerState.RUNNING,
        0.0,
        annotations={"io.kubernetes.pod.terminationGracePeriod": "7"},
    )
    orphan = build_orphan((sandbox,), (container, replace(container, attempt=1)))
    assert orphan is not None
    assert (str(orphan.key), orphan.uid) == ("default/web", "u")
    assert [c.name for c in orphan.spec.containers] == ["main"]
    assert orphan.spec.termination_grace_period_seconds == 7
    assert build_orphan((), (container,)) is None
