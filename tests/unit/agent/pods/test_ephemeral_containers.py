"""Ephemeral containers: started whenever they appear, once, beside everything else; told, and not counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.pods.actions import CreateContainer, EnsureImage, RemoveContainer, StartContainer, StopContainer
from agent.pods.config.container_config import find_target
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.lanes.directory import build_handle
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID, Unavailable
from agent.pods.progress import Failure, Progress, ReadyImage
from agent.pods.status.pod_status import NodeFacts, compute_pod_status
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ContainerStateRunning, ContainerStatus, Pod, PodStatus
from kubeapi.pod import ContainerState as ApiContainerState
from tests import builders

NOW = builders.NOW.timestamp()
SANDBOX = ObservedSandbox(SandboxID("s0"), 0, True, NOW - 100, ("10.1.0.1",))
NEWER = ObservedSandbox(SandboxID("s1"), 1, True, NOW - 50, ("10.1.0.2",))
WEB, FIRST = builders.container("web"), builders.container("first")
DEBUGGER = builders.container("debugger")
IMAGES = {"debugger": ReadyImage(0, LocalImage("sha256:x", 0, ""))}
READY = Progress(volumes={}, images=IMAGES)


def seen(
    container: Container, state: ContainerState = ContainerState.RUNNING, **changes: Any
) -> ObservedContainer:
    ended = state is ContainerState.EXITED
    good = ObservedContainer(
        id=ContainerID(f"{container.name}-0"),
        sandbox_id=SANDBOX.id,
        name=container.name,
        attempt=0,
        state=state,
        created_at=NOW - 60,
        started_at=None if state is ContainerState.CREATED else NOW - 59,
        finished_at=NOW - 5 if ended else None,
        spec_hash=compute_spec_hash(container),
    )
    return replace(good, **changes)


def pod_of(*debuggers: Container, status: PodStatus | None = None, **spec: Any) -> Pod:
    pod = builders.pod(spec={"ephemeral_containers": debuggers or (DEBUGGER,), **spec})
    return msgspec.structs.replace(pod, status=status or PodStatus())


def plan(
    *containers: ObservedContainer,
    pod: Pod | None = None,
    sandboxes: tuple[ObservedSandbox, ...] = (SANDBOX,),
    termination: Termination | None = None,
) -> PodPlan:
    goal = PodGoal(pod or pod_of(), termination)
    return plan_pod(goal, ObservedPod(sandboxes, containers), READY, NOW)


CREATE = CreateContainer("debugger", SANDBOX.id, 0, 0, 0.0)


def test_one_that_appears_is_made_beside_the_running_ones() -> None:
    assert plan(seen(WEB)).actions == (CREATE,)


def test_it_waits_for_no_init_container() -> None:
    assert plan(seen(FIRST), pod=pod_of(init_containers=(FIRST,))).actions == (CREATE,)


def test_its_image_is_pulled_first() -> None:
    other = builders.container("other")
    assert plan(seen(WEB), pod=pod_of(other)).actions == (EnsureImage("other", 0),)


def test_one_that_was_made_is_started() -> None:
    made = seen(DEBUGGER, ContainerState.CREATED)
    assert plan(made, seen(WEB)).actions == (StartContainer("debugger", made.id),)


@pytest.mark.parametrize("code", [0, 1])
def test_an_exit_is_its_end(code: int) -> None:
    assert plan(seen(WEB), seen(DEBUGGER, ContainerState.EXITED, exit_code=code)) == PodPlan()


def test_a_new_sandbox_does_not_bring_it_back() -> None:
    both = (NEWER, SANDBOX)
    web = seen(WEB, sandbox_id=NEWER.id)
    old = plan(web, seen(DEBUGGER), sandboxes=both).actions
    assert old[0] == StopContainer("debugger", ContainerID("debugger-0"), NOW + 2, "its sandbox was replaced")
    ended = plan(web, seen(DEBUGGER, ContainerState.EXITED), sandboxes=both).actions
    assert not any(isinstance(action, CreateContainer | EnsureImage) for action in ended)
    made = plan(web, seen(DEBUGGER, ContainerState.CREATED), sandboxes=both).actions
    assert made[0] == RemoveContainer("debugger", ContainerID("debugger-0"))


def test_one_that_ran_and_that_the_runtime_forgot_is_not_run_again() -> None:
    known = ContainerStatus(name="debugger", container_id="containerd://x")
    pod = pod_of(status=PodStatus(ephemeral_container_statuses=(known,)))
    assert plan(seen(WEB), pod=pod) == PodPlan()


def test_it_stops_with_the_app_containers() -> None:
    proxy = builders.container("proxy", restart_policy="Always")
    deleted = Termination(Ending.DELETED, NOW, 30)
    actions = plan(
        seen(WEB), seen(DEBUGGER), seen(proxy), pod=pod_of(init_containers=(proxy,)), termination=deleted
    ).actions
    assert [action.container for action in actions if isinstance(action, StopContainer)] == [
        "web",
        "debugger",
    ]


def test_it_is_stopped_when_a_pod_has_finished() -> None:
    pod = pod_of(restart_policy="Never")
    (stop,) = plan(seen(WEB, ContainerState.EXITED), seen(DEBUGGER), pod=pod).actions
    assert isinstance(stop, StopContainer)
    assert stop.container == "debugger"


# --- what is told -------------------------------------------------------------------------------------------


def compute(
    *containers: ObservedContainer, pod: Pod | None = None, progress: Progress = READY, **previous: Any
) -> PodStatus:
    goal = PodGoal(pod or pod_of(), None, NOW - 100)
    observed = ObservedPod((SANDBOX,), containers)
    return compute_pod_status(
        goal, observed, progress, PodStatus(**previous), NodeFacts(("192.168.0.1",)), NOW
    )


def test_its_status_says_neither_ready_nor_started() -> None:
    status = compute(seen(WEB), seen(DEBUGGER, image="i", image_ref="sha256:i"))
    assert msgspec.to_builtins(status.ephemeral_container_statuses[0]) == {
        "name": "debugger",
        "state": {"running": {"startedAt": builders.at(-59)}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "sha256:i",
        "containerID": "containerd://debugger-0",
    }


def test_phase_and_readiness_do_not_depend_on_it() -> None:
    for code in (0, 1):
        status = compute(seen(WEB), seen(DEBUGGER, ContainerState.EXITED, exit_code=code))
        assert status.phase == "Running"
        ready = next(c for c in status.conditions if c.type == "Ready")
        assert ready.status == "True"
    ended = compute(seen(WEB, ContainerState.EXITED), seen(DEBUGGER), pod=pod_of(restart_policy="Never"))
    assert ended.phase == "Succeeded"


def test_a_failed_pull_is_told() -> None:
    failure = Failure("ErrImagePull", "not there", NOW, NOW + 1)
    progress = replace(READY, failures={"EnsureImage:container/debugger": failure})
    waiting = compute(seen(WEB), progress=progress).ephemeral_container_statuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("ErrImagePull", "not there")


def test_one_that_got_lost_has_ended() -> None:
    running = ApiContainerState(running=ContainerStateRunning(started_at=builders.at(-50)))
    known = ContainerStatus(name="debugger", container_id="containerd://x", state=running)
    status = compute(seen(WEB), ephemeral_container_statuses=(known,)).ephemeral_container_statuses[0]
    assert status.state.terminated is not None
    assert status.state.terminated.reason == "ContainerStatusUnknown"
    assert status.container_id == "containerd://x"


# --- how others find it, and what it finds ------------------------------------------------------------------


def test_logs_and_exec_find_it() -> None:
    observed = ObservedPod((SANDBOX,), (seen(WEB), seen(DEBUGGER)))
    handle = build_handle(pod_of(), observed, "debugger", False, Path("/logs"))
    assert handle is not None
    assert (handle.container_id, handle.running) == ("debugger-0", True)


def test_its_target_is_the_newest_attempt_that_runs() -> None:
    aimed = builders.container("debugger", target_container_name="web")
    pod = pod_of(aimed)
    newest = seen(WEB, id=ContainerID("web-1"), attempt=1)
    observed = ObservedPod((SANDBOX,), (newest, seen(WEB, ContainerState.EXITED)))
    assert find_target(aimed, pod, observed) == "web-1"
    assert find_target(DEBUGGER, pod, observed) is None
    shared = pod_of(aimed, share_process_namespace=True)
    assert find_target(aimed, shared, observed) is None


@pytest.mark.parametrize("there", [(), (seen(WEB, ContainerState.EXITED),)], ids=["absent", "ended"])
def test_a_target_that_does_not_run_is_named(there: tuple[ObservedContainer, ...]) -> None:
    aimed = builders.container("debugger", target_container_name="web")
    with pytest.raises(Unavailable, match='unable to find target container "web"') as caught:
        find_target(aimed, pod_of(aimed), ObservedPod((SANDBOX,), there))
    assert caught.value.reason == "CreateContainerConfigError"
