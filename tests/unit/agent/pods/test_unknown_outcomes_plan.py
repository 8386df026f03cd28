"""What follows when nobody knows how a call ended: nothing twice, nothing forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.pods.actions import (
    CreateContainer,
    EnsureImage,
    RemoveContainer,
    RemoveVolumes,
    RunPodSandbox,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.backoff import compute_next_backoff, compute_restart_time
from agent.pods.desired import build_orphan, keep_deletion
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.observed import (
    ObservedContainer,
    ObservedPod,
    ObservedSandbox,
    build_observed_pod,
)
from agent.pods.outcomes import is_in_doubt, note_failure, note_success
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, SandboxID
from agent.pods.progress import InFlight, Progress
from agent.runtime.errors import RuntimeDeadlineExceeded, RuntimeNameReserved, RuntimeReadyOnRetry
from agent.runtime.values import (
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    ContainerState,
    RuntimeContainer,
)
from kubeapi.pod import Container, ExecAction, Lifecycle, LifecycleHandler, Pod
from tests import builders

NOW = 1000.0
S0, S1 = SandboxID("s0"), SandboxID("s1")
WEB = builders.container()
POD = builders.pod()


def sandbox(id_: SandboxID = S0, **changes: Any) -> ObservedSandbox:
    return replace(
        ObservedSandbox(id_, attempt=0, ready=True, created_at=900.0, ips=("10.1.0.1",)), **changes
    )


def attempt(id_: str, container: Container = WEB, **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(id_),
        sandbox_id=S0,
        name=container.name,
        attempt=0,
        state=ContainerState.CREATED,
        created_at=910.0,
        spec_hash=compute_spec_hash(container),
    )
    return replace(good, **changes)


def cut_short(**changes: Any) -> ObservedContainer:
    facts = {"finished_at": 990.0, "exit_code": 128, "reason": "StartError", **changes}
    message = "failed to create containerd task: context canceled: unknown"
    return attempt("cut", state=ContainerState.EXITED, message=message, **facts)


def plan(
    observed: ObservedPod,
    progress: Progress | None = None,
    pod: Pod = POD,
    termination: Termination | None = None,
) -> PodPlan:
    progress = Progress(volumes={}) if progress is None else progress
    return plan_pod(PodGoal(pod, termination), observed, progress, NOW)


# --- a start that was cut short -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_start_that_was_cut_short_is_made_up_for_at_once_whatever_the_restart_policy(policy: str) -> None:
    pod = builders.pod(spec={"restart_policy": policy})
    observed = ObservedPod((sandbox(),), (cut_short(),))
    assert plan(observed, pod=pod).actions == (EnsureImage("web", 1),)


def test_a_start_that_was_cut_short_counts_neither_as_a_restart_nor_as_a_crash() -> None:
    previous = cut_short(restart_count=2, backoff_seconds=40)
    assert compute_restart_time(previous) == 990.0
    assert compute_next_backoff(previous) == 40


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "no such file or directory"},
        {"message": "OCI runtime create failed: container init was OOM-killed: signal: killed"},
        {"started_at": 980.0},
        {"state": ContainerState.RUNNING},
    ],
)
def test_only_what_never_ran_was_cut_short(changes: dict[str, Any]) -> None:
    assert cut_short().cut_short
    assert not replace(cut_short(), **changes).cut_short


@pytest.mark.parametrize(
    "message",
    [
        "failed to create containerd task: failed to start shim: start failed: : signal: killed: unknown",
        "failed to create containerd task: failed to start shim: context deadline exceeded: unknown",
        "failed to create containerd task: failed to get task pid: context canceled",
    ],
)
def test_a_start_is_cut_short_at_any_of_its_steps(message: str) -> None:
    assert replace(cut_short(), message=message).cut_short


# --- what shows late ----------------------------------------------------------------------------------------


def test_the_higher_attempt_is_the_newer_one_whenever_it_was_made() -> None:
    late, made = sandbox(S0, created_at=999.0), sandbox(S1, attempt=1, created_at=950.0)
    old, new = attempt("old", created_at=999.0), attempt("new", attempt=1, created_at=950.0)
    observed = build_observed_pod((late, made), (old, new))
    assert [found.id for found in observed.sandboxes] == ["s1", "s0"]
    assert [found.id for found in observed.containers] == ["new", "old"]


def test_a_sandbox_that_shows_late_goes_and_the_pod_stays_where_it_is() -> None:
    running = attempt("web-0", state=ContainerState.RUNNING, started_at=940.0, sandbox_id=S1)
    observed = build_observed_pod(
        (sandbox(S0, created_at=999.0), sandbox(S1, attempt=1, created_at=930.0)), (running,)
    )
    assert plan(observed).actions == (StopPodSandbox(S0),)


def test_a_container_that_may_still_start_in_an_old_sandbox_goes_before_there_is_another() -> None:
    observed = ObservedPod((sandbox(S1, attempt=1), sandbox(S0, ready=False)), (attempt("web-0"),))
    progress = Progress(volumes={}, stopped=frozenset({S0}))
    assert plan(observed, progress).actions == (RemoveContainer("web", ContainerID("web-0")),)


def test_volumes_stay_while_a_container_may_still_start() -> None:
    ending = Termination(Ending.DELETED, NOW, 30)
    observed = ObservedPod((sandbox(),), (attempt("web-0"),))
    removal = RemoveContainer("web", ContainerID("web-0"))
    assert plan(observed, termination=ending).actions == (StopPodSandbox(S0), removal)
    assert plan(ObservedPod((sandbox(),)), termination=ending).actions == (
        StopPodSandbox(S0),
        RemoveVolumes(),
    )


def test_a_container_that_only_the_runtime_knows_names_its_pod() -> None:
    labels = {POD_NAME_LABEL: "web", POD_NAMESPACE_LABEL: "default", POD_UID_LABEL: "u"}
    container = RuntimeContainer(ContainerID("c"), S0, "web", 0, ContainerState.CREATED, 1.0, labels=labels)
    orphan = build_orphan((), (container,))
    assert orphan is not None
    assert (orphan.metadata.name, orphan.metadata.namespace, orphan.uid) == ("web", "default", "u")
    assert build_orphan((), (replace(container, labels={}),)) is None


# --- names --------------------------------------------------------------------------------------------------

CREATE = CreateContainer("web", S0, 4, 1, 10.0)


@pytest.mark.parametrize("action", [RunPodSandbox(4), CREATE])
def test_a_reserved_name_is_skipped_unless_the_runtime_hands_it_over_next_time(action: Any) -> None:
    refused = note_failure(Progress(), action, RuntimeNameReserved("taken"), NOW, 0.5)
    assert dict(refused.attempt_floors) == {action.key: 5}
    ready = note_failure(Progress(), action, RuntimeReadyOnRetry("taken"), NOW, 0.5)
    assert dict(ready.attempt_floors) == {}


@pytest.mark.parametrize("action", [RunPodSandbox(4), CREATE])
def test_no_attempt_comes_back_once_it_was_made(action: Any) -> None:
    assert dict(note_success(Progress(), action, None).attempt_floors) == {action.key: 5}


def test_the_runtime_is_asked_again_before_anything_is_made_again() -> None:
    progress = note_failure(Progress(), RunPodSandbox(0), RuntimeDeadlineExceeded("late"), NOW, 0.5)
    (failure,) = progress.failures.values()
    later = failure.retry_at + 1
    assert is_in_doubt(progress, looked_at=NOW, now=later)
    assert not is_in_doubt(progress, looked_at=NOW, now=failure.retry_at - 0.01)
    assert not is_in_doubt(progress, looked_at=later, now=later)
    pulled = note_failure(Progress(), EnsureImage("web", 0), RuntimeDeadlineExceeded("late"), NOW, 0.5)
    assert not is_in_doubt(pulled, looked_at=NOW, now=NOW + 100)


# --- calls that the pod's end makes useless -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "key"), [("RunPodSandbox", "sandbox"), ("CreateContainer", "container/web")]
)
def test_the_end_of_a_pod_waits_a_little_for_what_is_being_made_and_then_gives_it_up(
    what: str, key: str
) -> None:
    ending = Termination(Ending.DELETED, NOW, 30)

    def plan_at(since: float) -> PodPlan:
        return plan(ObservedPod(), Progress(in_flight={key: InFlight(what, since)}), termination=ending)

    assert plan_at(NOW - 4) == PodPlan(next_look=NOW + 6)
    assert plan_at(NOW - 10).cancel == (key,)


def test_a_hook_ends_with_a_grace_period_that_was_shortened_and_the_stop_follows() -> None:
    hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=("bye",))))
    container = builders.container(lifecycle=hook)
    pod = builders.pod(spec={"containers": (container,)})
    running = attempt("web-0", container, state=ContainerState.RUNNING, started_at=940.0)
    call = InFlight("RunPreStopHook", NOW - 5, NOW + 600)
    progress = Progress(volumes={}, in_flight={"container/web": call})

    def plan_with(grace_seconds: int) -> PodPlan:
        ending = Termination(Ending.DELETED, NOW - 5, grace_seconds)
        return plan(ObservedPod((sandbox(),), (running,)), progress, pod, ending)

    assert plan_with(605).cancel == ()
    assert (plan_with(15).cancel, plan_with(15).next_look) == ((), NOW + 10)
    assert plan_with(5).cancel == ("container/web",)
    stopped = plan(
        ObservedPod((sandbox(),), (running,)),
        Progress(volumes={}),
        pod,
        Termination(Ending.DELETED, NOW - 5, 5),
    )
    assert [type(action) for action in stopped.actions] == [StopContainer]


# --- a deletion is for good ---------------------------------------------------------------------------------


def deleted(grace_seconds: int) -> Pod:
    metadata = {"deletion_timestamp": builders.at(0), "deletion_grace_period_seconds": grace_seconds}
    return builders.pod(metadata=metadata)


def test_a_late_event_neither_undoes_a_deletion_nor_lengthens_its_grace() -> None:
    assert keep_deletion(deleted(5), POD) == deleted(5)
    assert keep_deletion(deleted(5), deleted(30)) == deleted(5)
    assert keep_deletion(deleted(30), deleted(5)) == deleted(5)
    assert keep_deletion(POD, deleted(5)) == deleted(5)
    relabelled = msgspec.structs.replace(POD.metadata, labels={"a": "b"})
    changed = msgspec.structs.replace(POD, metadata=relabelled)
    assert keep_deletion(POD, changed) == changed
