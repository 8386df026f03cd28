"""How a resize is carried out: a pod whose resources changed, one fact varied, the whole plan compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.checkpoint.records import ResourceRecord
from agent.pods.actions import (
    EnsureImage,
    RemoveVolumes,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
    UpdateContainerResources,
    UpdatePodCgroup,
)
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.plan import plan_pod
from agent.pods.ports import ContainerID, SandboxID
from agent.pods.progress import Failure, InFlight, Progress
from agent.pods.resize.plan import compute_resource_record, mark_replaced
from agent.resources.pod_limits import PodLimits
from agent.runtime.values import ContainerState
from kubeapi.pod import (
    Container,
    ContainerResizePolicy,
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    ResourceRequirements,
)
from tests import builders

NOW = 1000.0
MIB = 1 << 20
SANDBOX = SandboxID("s0")
IN_PROGRESS = ResourceRecord(in_progress=True, allocated_at=980.0)


def sized(cpu: str, memory: str = "64Mi") -> ResourceRequirements:
    return ResourceRequirements(
        requests={"cpu": cpu, "memory": memory}, limits={"cpu": cpu, "memory": memory}
    )


def limits(millicores: int, mebibytes: int) -> PodLimits:
    return PodLimits(millicores * 1024 // 1000, millicores * 100, mebibytes * MIB)


def container(name: str = "web", resources: ResourceRequirements | None = None, **more: Any) -> Container:
    return builders.container(name, resources=resources or sized("200m"), **more)


def attempt(made: Container, resources: ResourceRequirements, **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(f"{made.name}-0"),
        sandbox_id=SANDBOX,
        name=made.name,
        attempt=0,
        state=ContainerState.RUNNING,
        created_at=910.0,
        started_at=911.0,
        spec_hash=compute_spec_hash(made),
        resources=resources,
    )
    return replace(good, **changes)


def ended(made: Container, resources: ResourceRequirements, **changes: Any) -> ObservedContainer:
    return attempt(made, resources, state=ContainerState.EXITED, finished_at=990.0, **changes)


def pod_of(*containers: Container, **spec: Any) -> Pod:
    return builders.pod(spec={"containers": containers, **spec})


def seen(*containers: ObservedContainer) -> ObservedPod:
    sandbox = ObservedSandbox(SANDBOX, attempt=0, ready=True, created_at=900.0, ips=("10.1.0.1",))
    return ObservedPod((sandbox,), containers)


def plan(
    pod: Pod,
    observed: ObservedPod,
    pod_limits: PodLimits | None = None,
    record: ResourceRecord = IN_PROGRESS,
    termination: Termination | None = None,
    **progress: Any,
) -> tuple[object, ...]:
    goal = PodGoal(pod, termination, resources=record)
    facts = Progress(volumes={}, pod_limits=pod_limits, **progress)
    return plan_pod(goal, mark_replaced(goal, observed), facts, NOW).actions


WEB = container()
HALT = (StopPodSandbox(SANDBOX), RemoveVolumes())  # a pod that is over


def update(made: Container, before: ResourceRequirements) -> UpdateContainerResources:
    return UpdateContainerResources(made.name, ContainerID(f"{made.name}-0"), before, made.resources)


def test_a_pod_that_has_what_it_wants_needs_nothing() -> None:
    assert plan(pod_of(WEB), seen(attempt(WEB, WEB.resources)), record=ResourceRecord()) == ()


def test_other_words_for_the_same_amounts_change_nothing() -> None:
    same = ResourceRequirements(
        requests={"cpu": "0.2", "memory": "65536Ki"}, limits={"cpu": "0.2", "memory": "65536Ki"}
    )
    assert plan(pod_of(WEB), seen(attempt(WEB, same)), record=ResourceRecord()) == ()


def test_a_container_of_an_agent_that_noted_nothing_is_left_alone() -> None:
    unknown = replace(attempt(WEB, WEB.resources), resources=None)
    assert plan(pod_of(WEB), seen(unknown), record=ResourceRecord()) == ()


def test_the_pods_cgroup_grows_before_its_container() -> None:
    observed = seen(attempt(WEB, sized("100m")))
    assert plan(pod_of(WEB), observed) == (UpdatePodCgroup(limits(200, 64)),)
    assert plan(pod_of(WEB), observed, limits(200, 64)) == (update(WEB, sized("100m")),)


def test_the_pods_cgroup_shrinks_after_its_container() -> None:
    before = sized("400m", "128Mi")
    observed = seen(attempt(WEB, before))
    assert plan(pod_of(WEB), observed) == (UpdatePodCgroup(limits(400, 128)),)
    assert plan(pod_of(WEB), observed, limits(400, 128)) == (update(WEB, before),)
    done = ResourceRecord(in_progress=True, actuated={"web-0": WEB.resources})
    assert plan(pod_of(WEB), observed, limits(400, 128), done) == (UpdatePodCgroup(limits(200, 64)),)
    assert plan(pod_of(WEB), observed, limits(200, 64), done) == ()


def test_while_one_number_grows_and_another_shrinks_the_pod_has_the_larger_of_both() -> None:
    observed = seen(attempt(WEB, sized("100m", "128Mi")))
    assert plan(pod_of(WEB), observed) == (UpdatePodCgroup(limits(200, 128)),)


def test_containers_that_swap_sizes_fit_in_at_every_moment() -> None:
    one, other = container("one", sized("300m")), container("other", sized("100m"))
    observed = seen(attempt(one, sized("100m")), attempt(other, sized("300m")))
    assert plan(pod_of(one, other), observed) == (UpdatePodCgroup(limits(600, 128)),)
    assert plan(pod_of(one, other), observed, limits(600, 128)) == (
        update(one, sized("100m")),
        update(other, sized("300m")),
    )


def test_sidecars_change_as_app_containers_do() -> None:
    sidecar = container("proxy", sized("200m"), restart_policy="Always")
    observed = seen(attempt(WEB, WEB.resources), attempt(sidecar, sized("100m")))
    pod = pod_of(WEB, init_containers=(sidecar,))
    assert plan(pod, observed, limits(400, 128)) == (update(sidecar, sized("100m")),)


def test_what_was_begun_before_a_restart_of_the_agent_is_finished() -> None:
    """Nothing but the checkpoint and the runtime's annotations is known then."""
    observed = seen(attempt(WEB, sized("100m")))
    assert plan(pod_of(WEB), observed, None) == (UpdatePodCgroup(limits(200, 64)),)
    settled = ResourceRecord(in_progress=True, actuated={"web-0": WEB.resources})
    assert plan(pod_of(WEB), observed, None, settled) == (UpdatePodCgroup(limits(200, 64)),)


def test_a_container_that_was_made_before_keeps_its_room_and_is_changed_once_it_runs() -> None:
    created = attempt(WEB, sized("400m"), state=ContainerState.CREATED, started_at=None)
    start = StartContainer("web", ContainerID("web-0"))
    assert plan(pod_of(WEB), seen(created)) == (start, UpdatePodCgroup(limits(400, 64)))
    assert plan(pod_of(WEB), seen(created), limits(400, 64)) == (start,)


def test_a_failed_update_waits_for_its_retry() -> None:
    failure = Failure("Error", "below current usage", 999.0, 1005.0)
    failures = {"UpdateContainerResources:container/web": failure}
    observed = seen(attempt(WEB, sized("100m")))
    assert plan(pod_of(WEB), observed, limits(200, 64), failures=failures) == ()


def test_nothing_changes_while_the_sandbox_is_being_made() -> None:
    in_flight = {"sandbox": InFlight("RunPodSandbox", 999.0)}
    assert plan(pod_of(WEB), ObservedPod(), in_flight=in_flight, images={}) == (EnsureImage("web", 0),)


def test_a_pod_that_ends_isnt_resized() -> None:
    termination = Termination(Ending.DELETED, NOW, 30)
    actions = plan(pod_of(WEB), seen(attempt(WEB, sized("100m"))), termination=termination)
    assert not any(isinstance(action, UpdatePodCgroup | UpdateContainerResources) for action in actions)


# --- the policy that asks for a restart ---------------------------------------------------------------------


def restarting(
    resource: str = "memory", resources: ResourceRequirements | None = None, **more: Any
) -> Container:
    policy = ContainerResizePolicy(resource_name=resource, restart_policy="RestartContainer")
    return container(resources=resources or sized("200m", "128Mi"), resize_policy=(policy,), **more)


def test_a_container_is_replaced_where_its_policy_says_so() -> None:
    made = restarting()
    observed = seen(attempt(made, sized("200m", "64Mi")))
    assert plan(pod_of(made), observed, limits(200, 128)) == (
        StopContainer("web", ContainerID("web-0"), NOW + 30, "Container web resize requires restart"),
    )


def test_its_pre_stop_hook_runs_first() -> None:
    hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=("true",))))
    made = restarting(lifecycle=hook)
    observed = seen(attempt(made, sized("200m", "64Mi")))
    assert plan(pod_of(made), observed, limits(200, 128)) == (
        RunPreStopHook("web", ContainerID("web-0"), NOW + 30),
    )


def test_a_resource_without_that_policy_changes_in_place() -> None:
    made = restarting("cpu", sized("200m", "128Mi"))
    observed = seen(attempt(made, sized("200m", "64Mi")))
    assert plan(pod_of(made), observed, limits(200, 128)) == (update(made, sized("200m", "64Mi")),)


@pytest.mark.parametrize("restart_policy", ["Always", "OnFailure"])
@pytest.mark.parametrize("exit_code", [0, 143])
def test_a_replaced_container_comes_back_at_once(restart_policy: str, exit_code: int) -> None:
    made = restarting()
    exited = ended(made, sized("200m", "64Mi"), exit_code=exit_code, backoff_seconds=160.0)
    pod = pod_of(made, restart_policy=restart_policy)
    assert plan(pod, seen(exited), limits(200, 128)) == (EnsureImage("web", 1),)


def test_a_container_that_had_exited_before_the_resize_does_not_come_back() -> None:
    made = restarting()
    exited = ended(made, sized("200m", "64Mi"))
    late = ResourceRecord(in_progress=True, allocated_at=995.0)
    pod = pod_of(made, restart_policy="OnFailure")
    assert plan(pod, seen(exited), limits(200, 128), late) == HALT


def test_an_exit_without_a_restarting_policy_is_an_ordinary_one() -> None:
    pod = pod_of(WEB, restart_policy="OnFailure")
    assert plan(pod, seen(ended(WEB, sized("100m"))), limits(200, 64)) == HALT


# --- what the checkpoint keeps ------------------------------------------------------------------------------


def record_after(
    observed: ObservedPod,
    pod: Pod,
    pod_limits: PodLimits | None,
    actuated: Mapping[str, ResourceRequirements] | None = None,
) -> ResourceRecord:
    goal = PodGoal(pod, resources=msgspec.structs.replace(IN_PROGRESS, actuated=actuated or {}))
    progress = Progress(pod_limits=pod_limits)
    return compute_resource_record(goal, mark_replaced(goal, observed), progress)


def test_a_resize_is_over_once_containers_and_pod_have_it() -> None:
    done, open_ = seen(attempt(WEB, WEB.resources)), seen(attempt(WEB, sized("100m")))
    assert not record_after(done, pod_of(WEB), limits(200, 64)).in_progress
    assert record_after(done, pod_of(WEB), limits(400, 64)).in_progress
    assert record_after(done, pod_of(WEB), None).in_progress
    assert record_after(open_, pod_of(WEB), limits(200, 64)).in_progress


def test_a_resize_is_not_over_while_a_container_is_replaced() -> None:
    made = restarting()
    observed = seen(ended(made, sized("200m", "64Mi")))
    assert record_after(observed, pod_of(made), limits(200, 128)).in_progress


def test_what_containers_long_gone_had_is_forgotten() -> None:
    actuated = {"web-0": WEB.resources, "gone": sized("1")}
    record = record_after(seen(attempt(WEB, sized("100m"))), pod_of(WEB), limits(200, 64), actuated)
    assert record.actuated == {"web-0": WEB.resources}
    assert not record.in_progress
