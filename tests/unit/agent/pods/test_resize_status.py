"""What the API is told of a resize: conditions, the containers' resources, events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from agent.checkpoint.records import ResourceRecord
from agent.pods.actions import UpdateContainerResources
from agent.pods.goal import Ending, PodGoal, Termination
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.ports import ContainerID, SandboxID
from agent.pods.progress import Failure, Progress
from agent.pods.resize.report import add_resources, compute_resize_conditions, describe_resize
from agent.pods.resize.update import build_resource_update, find_memory_conflict, is_memory_lowered
from agent.pods.status.patch import build_status_patch
from agent.runtime.values import ContainerState, LinuxResources
from kubeapi.meta import Condition
from kubeapi.pod import Container, ContainerStatus, PodStatus, ResourceRequirements
from tests import builders

MIB = 1 << 20


def sized(cpu: str, memory: str = "64Mi") -> ResourceRequirements:
    amounts = {"cpu": cpu, "memory": memory}
    return ResourceRequirements(requests=amounts, limits=amounts)


WEB = builders.container(resources=sized("200m"))
POD = builders.pod(spec={"containers": (WEB,)}, metadata={"generation": 3})


def goal(termination: Termination | None = None, **resources: Any) -> PodGoal:
    return PodGoal(POD, termination, resources=ResourceRecord(**resources))


def conditions(
    goal: PodGoal, progress: Progress | None = None, previous: tuple[Condition, ...] = ()
) -> dict[str, Condition]:
    found = compute_resize_conditions(goal, progress or Progress(), previous, "now")
    return {condition.type: condition for condition in found}


def running(actuated: ResourceRequirements = WEB.resources, **changes: Any) -> ObservedPod:
    good = ObservedContainer(
        id=ContainerID("web-0"),
        sandbox_id=SandboxID("s0"),
        name="web",
        attempt=0,
        state=ContainerState.RUNNING,
        created_at=1.0,
        resources=actuated,
    )
    return ObservedPod((), (replace(good, **changes),))


# --- conditions ---------------------------------------------------------------------------------------------


def test_a_pod_that_isnt_resized_has_neither() -> None:
    assert conditions(goal()) == {}


def test_a_refused_wish_is_pending_for_its_reason() -> None:
    pending = conditions(goal(reason="Deferred", message="no room"))["PodResizePending"]
    assert (pending.status, pending.reason, pending.message) == ("True", "Deferred", "no room")
    assert (pending.observed_generation, pending.last_transition_time) == (3, "now")


def test_a_condition_that_stays_keeps_its_time_and_generation() -> None:
    old = Condition(
        type="PodResizeInProgress", status="True", observed_generation=2, last_transition_time="then"
    )
    found = conditions(goal(in_progress=True), previous=(old,))["PodResizeInProgress"]
    assert (found.last_transition_time, found.observed_generation) == ("then", 2)


def test_a_failed_update_is_the_error_of_what_is_in_progress() -> None:
    failures = {"UpdateContainerResources:container/web": Failure("Error", "too small", 1.0, 2.0)}
    found = conditions(goal(in_progress=True), Progress(failures=failures))["PodResizeInProgress"]
    assert (found.reason, found.message) == ("Error", "too small")


def test_a_pod_that_ends_has_neither() -> None:
    ending = Termination(Ending.DELETED, 1.0, 30)
    assert conditions(goal(ending, in_progress=True, reason="Deferred")) == {}


def test_a_condition_that_no_longer_holds_is_deleted_in_the_api() -> None:
    old = PodStatus(conditions=(Condition(type="PodResizePending", status="True"), Condition(type="Other")))
    patch = build_status_patch("uid", old, PodStatus(conditions=(Condition(type="Other"),)))
    assert patch is not None
    assert patch["status"]["conditions"] == [{"$patch": "delete", "type": "PodResizePending"}]


def test_a_condition_of_somebody_else_is_never_deleted() -> None:
    old = PodStatus(conditions=(Condition(type="Theirs", status="True"), Condition(type="Other")))
    assert build_status_patch("uid", old, PodStatus(conditions=(Condition(type="Other"),))) is None


# --- containers ---------------------------------------------------------------------------------------------


def reported(observed: ObservedPod, container: Container = WEB, **resources: Any) -> ContainerStatus:
    return add_resources(goal(**resources), observed, container, ContainerStatus(name="web"))


def test_a_running_container_shows_what_it_was_given_last() -> None:
    assert reported(running(sized("100m"))).resources == sized("100m")
    given = reported(running(sized("100m")), actuated={"web-0": sized("150m")})
    assert given.resources == sized("150m")
    assert given.allocated_resources == sized("200m").requests


def test_a_container_that_doesnt_run_shows_what_it_will_have() -> None:
    assert reported(ObservedPod()).resources == sized("200m")
    assert reported(running(sized("100m"), state=ContainerState.EXITED)).resources == sized("200m")


def test_a_container_without_resources_shows_none() -> None:
    bare = builders.container(resources=ResourceRequirements())
    found = reported(ObservedPod(), bare)
    assert (found.resources, found.allocated_resources) == (ResourceRequirements(), {})


def test_limits_that_the_runtime_shows_otherwise_are_the_runtimes() -> None:
    other = LinuxResources(cpu_period=100_000, cpu_quota=50_000, memory_limit_bytes=32 * MIB)
    found = reported(running(reported=other)).resources
    assert found is not None
    assert found.limits == {"cpu": "500m", "memory": str(32 * MIB)}
    same = LinuxResources(cpu_period=100_000, cpu_quota=20_000, memory_limit_bytes=64 * MIB)
    assert reported(running(reported=same)).resources == WEB.resources
    assert reported(running(reported=LinuxResources())).resources == WEB.resources


# --- events -------------------------------------------------------------------------------------------------


def told(goal: PodGoal, *old: Condition, new: Condition | None = None) -> list[tuple[str, str, bool]]:
    after = PodStatus(conditions=(new,) if new else ())
    events = describe_resize(goal, PodStatus(conditions=old), after)
    return [(event.reason, event.message, event.warning) for event in events]


PENDING = Condition(
    type="PodResizePending", status="True", reason="Deferred", message="no room", observed_generation=3
)
BEGUN = Condition(type="PodResizeInProgress", status="True", observed_generation=3)
RESOURCES = '{"limits":{"cpu":"200m","memory":"64Mi"},"requests":{"cpu":"200m","memory":"64Mi"}}'
DOCUMENT = f'{{"containers":[{{"name":"web","resources":{RESOURCES}}}],"generation":3'


def test_a_deferral_is_told_once_whatever_its_message_does() -> None:
    wanted = {"web": sized("2")}
    ((reason, message, warning),) = told(goal(wanted=wanted), new=PENDING)
    assert (reason, warning) == ("ResizeDeferred", True)
    assert message.startswith("Pod resize Deferred: {")
    assert '"cpu":"2"' in message
    assert message.endswith('"generation":3,"error":"no room"}')
    louder = msgspec.structs.replace(PENDING, message="even less room")
    assert told(goal(wanted=wanted), PENDING, new=louder) == []


def test_each_step_is_told() -> None:
    assert told(goal(), new=BEGUN) == [("ResizeStarted", f"Pod resize started: {DOCUMENT}}}", False)]
    failed = msgspec.structs.replace(BEGUN, reason="Error", message="why")
    error = [("ResizeError", f'Pod resize error: {DOCUMENT},"error":"why"}}', True)]
    assert told(goal(), BEGUN, new=failed) == error
    assert told(goal(), failed, new=failed) == []
    assert told(goal(), BEGUN) == [("ResizeCompleted", f"Pod resize completed: {DOCUMENT}}}", False)]


def test_a_resize_that_is_cut_off_by_the_pods_end_isnt_completed() -> None:
    assert told(goal(Termination(Ending.DELETED, 1.0, 30)), BEGUN) == []


def test_a_wish_that_is_taken_back_tells_nothing() -> None:
    assert told(goal(), PENDING) == []


# --- the numbers --------------------------------------------------------------------------------------------


def update(before: ResourceRequirements, after: ResourceRequirements) -> UpdateContainerResources:
    return UpdateContainerResources("web", ContainerID("web-0"), before, after)


def test_a_lower_memory_limit_must_leave_what_is_in_use() -> None:
    lower = update(sized("1", "64Mi"), sized("1", "32Mi"))
    assert is_memory_lowered(lower)
    assert is_memory_lowered(update(ResourceRequirements(), sized("1")))
    assert not is_memory_lowered(update(sized("1", "32Mi"), sized("1", "64Mi")))
    assert not is_memory_lowered(update(sized("1"), sized("2")))
    assert find_memory_conflict(lower, 31 * MIB) is None
    expected = f'attempting to set container "web" memory limit ({32 * MIB}) below current usage ({33 * MIB})'
    assert find_memory_conflict(lower, 33 * MIB) == expected
    assert find_memory_conflict(lower, None) is not None


def test_the_numbers_of_an_update() -> None:
    numbers = build_resource_update(POD, WEB, update(sized("100m"), WEB.resources), 8 << 30)
    assert (numbers.cpu_period, numbers.cpu_quota, numbers.cpu_shares) == (100_000, 20_000, 204)
    assert numbers.memory_limit_in_bytes == 64 * MIB


def test_a_limit_that_is_gone_is_named() -> None:
    bare = builders.container(resources=ResourceRequirements(requests={"cpu": "100m"}))
    numbers = build_resource_update(POD, bare, update(sized("100m"), bare.resources), 8 << 30)
    assert (numbers.cpu_quota, numbers.memory_limit_in_bytes) == (-1, -1)
