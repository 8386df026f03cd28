"""What is told of a pod's doings, and the phases that come of it."""

from __future__ import annotations

import msgspec

from agent.journal.entry import Entry, PodName
from agent.journal.find import find_near, find_pods
from agent.journal.narration import narrate_arrival, narrate_end, narrate_end_of_action, narrate_status
from agent.journal.timeline import Phase, compute_phases
from agent.pods.actions import EnsureImage, RunPostStartHook, StopContainer
from agent.pods.goal import Ending, Termination
from agent.pods.outcomes import HookFailed, ImageEnsured
from agent.pods.ports import ContainerID, LocalImage
from agent.pods.progress import Failure
from kubeapi.pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodStatus,
)
from tests import builders

NOW = builders.NOW.timestamp()


def action(what: str, at: float, seconds: float, target: str = "", *, failed: bool = False) -> Entry:
    return Entry(at=at, what=what, kind="action", target=target, seconds=seconds, failed=failed)


def test_a_phase_lasts_from_its_first_try_to_its_success() -> None:
    entries = (
        action("PrepareVolumes", 11.0, 1.0, failed=True),
        action("PrepareVolumes", 13.0, 0.5),
        action("RunPodSandbox", 14.0, 3.0, failed=True),
    )
    assert compute_phases(entries) == (
        Phase("volumes", "", 10.0, 3.0, tries=2),
        Phase("sandbox", "", 11.0, 3.0, tries=1, done=False),
    )


def test_of_a_crash_loop_the_newest_start_counts() -> None:
    starts = [action("StartContainer", 10.0 * number, 0.25, "web") for number in range(1, 5)]
    (phase,) = compute_phases(starts)
    assert (phase.name, phase.target, phase.began_at, phase.seconds, phase.runs) == (
        "start",
        "web",
        39.75,
        0.25,
        4,
    )


def test_spans_lead_from_the_pod_being_seen_to_ready_and_from_deletion_to_gone() -> None:
    states = {"created": 1.0, "scheduled": 2.0, "seen": 2.5, "Ready": 4.0, "deletion asked": 60.0}
    entries = [Entry(at=at, what=what) for what, at in states.items()]
    entries.append(Entry(at=62.5, what="gone from this node"))
    spans = {phase.name: phase.seconds for phase in compute_phases(entries)}
    assert spans == {
        "scheduling": 1.0,
        "reaching the node": 0.5,
        "to Ready": 1.5,
        "from deletion to gone": 2.5,
    }


def test_an_action_tells_how_long_it_took_and_how_it_ended() -> None:
    pulled = ImageEnsured(LocalImage("sha256:1", None, "", pulled=True))
    told = narrate_end_of_action(EnsureImage("web", 0), NOW - 2, NOW, pulled, None)
    assert (told.seconds, told.failed, told.message) == (2.0, False, "pulled")
    failure = Failure("ErrImagePull", "no route to host", NOW, NOW + 10, 3)
    told = narrate_end_of_action(EnsureImage("web", 0), NOW - 2, NOW, None, failure)
    assert (told.failed, told.reason, told.message) == (True, "ErrImagePull", "no route to host (try 3)")
    stop = StopContainer("web", ContainerID("web-0"), NOW, "Container web failed liveness probe")
    assert narrate_end_of_action(stop, NOW, NOW, None, None).message == "Container web failed liveness probe"


def test_what_a_hook_printed_stays_out() -> None:
    failed = HookFailed("the command ('sh', '-c', 'x') exited with 1: password hunter2")
    told = narrate_end_of_action(RunPostStartHook("web", ContainerID("web-0")), NOW, NOW, failed, None)
    assert told.failed
    assert told.message == "the command ('sh', '-c', 'x') exited with 1"


def test_a_container_s_exit_is_told_with_its_signal_and_without_its_last_words() -> None:
    ended = ContainerStateTerminated(
        exit_code=137, reason="OOMKilled", message="password hunter2", container_id="containerd://1"
    )
    before = PodStatus(container_statuses=(status(running=True, ready=True),))
    after = PodStatus(container_statuses=(status(waiting="CrashLoopBackOff", last=ended),))
    told = list(narrate_status(before, after, NOW))
    assert [(each.what, each.target, each.reason, each.message) for each in told] == [
        ("exited", "web", "OOMKilled", "exit code 137 (SIGKILL)"),
        ("waiting", "web", "CrashLoopBackOff", "back-off 10s"),
    ]
    assert list(narrate_status(after, after, NOW)) == []


def test_readiness_and_phases_are_told_as_they_change() -> None:
    before = PodStatus(phase="Pending", container_statuses=(status(running=True),))
    after = PodStatus(
        phase="Running",
        conditions=(builders.condition("Ready"),),
        container_statuses=(status(running=True, ready=True),),
    )
    assert [each.what for each in narrate_status(before, after, NOW)] == ["ready", "Ready", "phase Running"]
    assert [each.what for each in narrate_status(after, before, NOW)] == ["not ready", "phase Pending"]


def status(
    *,
    running: bool = False,
    ready: bool = False,
    waiting: str = "",
    last: ContainerStateTerminated | None = None,
) -> ContainerStatus:
    message = "back-off 10s restarting failed container=web pod=web-1"
    state = ContainerState(
        running=ContainerStateRunning(started_at=builders.at(0)) if running else None,
        waiting=ContainerStateWaiting(reason=waiting, message=message) if waiting else None,
    )
    return ContainerStatus(name="web", ready=ready, state=state, last_state=ContainerState(terminated=last))


def test_the_arrival_tells_what_the_object_says_of_the_time_before() -> None:
    told = list(narrate_arrival(builders.pod(), "api", NOW))
    assert [(each.what, each.at) for each in told] == [
        ("created", NOW - 600),
        ("scheduled", NOW - 60),
        ("seen", NOW),
    ]


def test_each_end_has_its_words() -> None:
    words = [narrate_end(Termination(ending, NOW, 30, "R", "why"), NOW).what for ending in Ending]
    assert words == ["deletion asked", "no longer wanted", "failed for good"]


def test_a_pod_is_found_by_its_name_a_static_one_by_its_manifest_s_too() -> None:
    web = PodName(namespace="default", name="web-1", uid="1")
    older = msgspec.structs.replace(web, uid="0")
    static = PodName(namespace="kube-system", name="etcd-n1", uid="2", source="file")
    other = PodName(namespace="blue", name="web-1", uid="3")
    known = (web, older, static, other)
    assert find_pods(known, "default/web-1", "n1") == (web, older)
    assert find_pods(known, "web-1", "n1") == (web, older)
    assert find_pods(known, "kube-system/etcd", "n1") == (static,)
    assert find_pods(known, "etcd-n1", "n1") == (static,)
    assert find_pods(known, "default/web-2", "n1") == ()
    assert find_near(known, "default/web") == ("default/web-1", "blue/web-1")
