"""Any sequence of resizes ends with what was wanted last, and no number is ever out of its pod's bounds.

The world here is one pod's containers, their numbers and the pod's cgroup, as small as it can be. The agent
forgets everything but its checkpoint between any two steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint.records import PodRecord, decode_record, encode_record
from agent.pods.actions import (
    Action,
    CreateContainer,
    EnsureImage,
    RemoveContainer,
    StartContainer,
    StopContainer,
    UpdateContainerResources,
    UpdatePodCgroup,
)
from agent.pods.desired import compute_goal
from agent.pods.goal import compute_spec_hash, find_container
from agent.pods.observed import ObservedContainer, ObservedSandbox, build_observed_pod
from agent.pods.outcomes import ActionResult, ImageEnsured, note_success
from agent.pods.plan import plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID
from agent.pods.progress import Progress
from agent.pods.resize.plan import compute_resource_record, mark_replaced
from agent.pods.resize.wish import decide_resize, note_decision, note_wish, with_resources
from agent.resources.pod_limits import PodLimits, compute_pod_limits
from agent.resources.requests import compute_pod_request, read_amount
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ContainerResizePolicy, Pod, PodStatus, ResourceRequirements
from tests import builders

_STEPS = 80
_NAMES = ("web", "other", "proxy")
_NODE = builders.node()  # 4 CPUs
_SANDBOX = ObservedSandbox(SandboxID("s0"), 0, True, 100.0, ("10.1.0.1",))


def sized(millicores: int, mebibytes: int) -> ResourceRequirements:
    amounts = {"cpu": f"{millicores}m", "memory": f"{mebibytes}Mi"}
    return ResourceRequirements(requests=amounts, limits=amounts)


class World:
    """A running pod, its checkpoint and the kernel's numbers."""

    def __init__(self, policies: Mapping[str, str], restart_policy: str) -> None:
        made = [_build(name, policies[name]) for name in _NAMES]
        spec = {
            "containers": tuple(made[:2]),
            "init_containers": (msgspec.structs.replace(made[2], restart_policy="Always"),),
            "restart_policy": restart_policy,
        }
        pod = msgspec.structs.replace(builders.pod(spec=spec), status=PodStatus())
        self.now = 1000.0
        self.count = 0
        self.record = PodRecord(pod=pod, start_time=100.0)
        self.shown = pod
        self.progress = Progress(volumes={})
        self.kernel: dict[str, ResourceRequirements] = {}
        self.pod_limits = compute_pod_limits(pod)
        self.observed = build_observed_pod((_SANDBOX,), [self._make(container, 0) for container in made])

    def _make(self, container: Container, attempt: int, **changes: object) -> ObservedContainer:
        self.count += 1
        made = ObservedContainer(
            id=ContainerID(f"{container.name}-{self.count}"),
            sandbox_id=_SANDBOX.id,
            name=container.name,
            attempt=attempt,
            state=ContainerState.RUNNING,
            created_at=self.now,
            started_at=self.now,
            resources=container.resources,
            spec_hash=compute_spec_hash(container),
        )
        self.kernel[made.id] = container.resources
        return replace(made, **changes)  # type: ignore[arg-type]

    # --- what happens to it ---------------------------------------------------------------------------------

    def wish(self, resources: Mapping[str, ResourceRequirements]) -> None:
        self.shown = with_resources(self.shown, resources)
        pod, known = note_wish(self.record, self.shown)
        self._save(msgspec.structs.replace(self.record, pod=pod, resources=known))
        self._decide()

    def _decide(self) -> None:
        wanted = self.record.resources.wanted
        if wanted:
            refusal = decide_resize(self.record.pod, wanted, _NODE, ())
            self._save(note_decision(self.record, refusal, self.now))

    def forget(self) -> None:
        """A restart of the agent."""
        self.progress = Progress(volumes={})
        self.record = decode_record(encode_record(self.record))

    def _save(self, record: PodRecord) -> None:
        self.record = record

    def step(self) -> bool:
        """One look; False when there was nothing to do but wait."""
        self.now += 0.1
        goal = compute_goal(self.record, self.now)
        self.observed = mark_replaced(goal, self.observed)
        resources = compute_resource_record(goal, self.observed, self.progress)
        self._save(msgspec.structs.replace(self.record, resources=resources))
        plan = plan_pod(replace(goal, resources=resources), self.observed, self.progress, self.now)
        for action in plan.actions:
            result = self._change(action)
            self.progress = note_success(self.progress, action, result)
            self.check()
        if not plan.actions and plan.next_look is not None:
            self.now = max(self.now, plan.next_look)
            return True
        return bool(plan.actions)

    def settle(self) -> None:
        for _ in range(_STEPS):
            if not self.step():
                return
        raise AssertionError(f"no end after {_STEPS} looks: {self.observed}")

    def _change(self, action: Action) -> ActionResult:
        match action:
            case UpdatePodCgroup(limits):
                self.pod_limits = limits
            case UpdateContainerResources(_, container_id, actuated, wanted):
                assert self.kernel[container_id] == actuated, "it was given something else meanwhile"
                self.kernel[container_id] = wanted
                known = {**self.record.resources.actuated, container_id: wanted}
                resources = msgspec.structs.replace(self.record.resources, actuated=known)
                self._save(msgspec.structs.replace(self.record, resources=resources))
            case EnsureImage():
                return ImageEnsured(LocalImage("sha256:x", 0, ""))
            case CreateContainer(name, _, attempt):
                container = find_container(self.record.pod, name)
                assert container is not None
                new = self._make(container, attempt, state=ContainerState.CREATED, started_at=None)
                new = replace(new, restart_count=action.restart_count)
                self._set((*self.observed.containers, new))
            case StartContainer(_, container_id):
                self._update(container_id, state=ContainerState.RUNNING, started_at=self.now)
            case StopContainer(_, container_id):
                ended = ContainerState.EXITED
                self._update(container_id, state=ended, finished_at=self.now, exit_code=0)
            case RemoveContainer(_, container_id):
                self._set(tuple(c for c in self.observed.containers if c.id != container_id))
            case _:
                raise AssertionError(f"a pod that runs doesn't need {action}")
        return None

    def _update(self, container_id: ContainerID, **changes: object) -> None:
        self._set(
            tuple(
                replace(c, **changes) if c.id == container_id else c  # type: ignore[arg-type]
                for c in self.observed.containers
            )
        )

    def _set(self, containers: tuple[ObservedContainer, ...]) -> None:
        self.observed = build_observed_pod((_SANDBOX,), containers)

    # --- what must hold -------------------------------------------------------------------------------------

    def running(self) -> dict[str, ObservedContainer]:
        return {c.name: c for c in self.observed.containers if c.running}

    def check(self) -> None:
        """At every moment the pod's own limits hold what its containers may use together."""
        cpu, memory = self._sum("cpu"), self._sum("memory")
        assert self.pod_limits.cpu_quota is not None
        assert self.pod_limits.memory_bytes is not None
        assert cpu * 100 <= self.pod_limits.cpu_quota
        assert memory <= self.pod_limits.memory_bytes

    def _sum(self, resource: str) -> int:
        return sum(read_amount(self.kernel[c.id].limits, resource) for c in self.running().values())

    def check_settled(self) -> None:
        pod = self.record.pod
        assert set(self.running()) == set(_NAMES)
        for name, attempt in self.running().items():
            container = find_container(pod, name)
            assert container is not None
            assert self.kernel[attempt.id] == container.resources
        assert self.pod_limits == compute_pod_limits(pod)
        assert not self.record.resources.in_progress
        fits = compute_pod_request(self.shown, "cpu") <= 4000
        assert fits == (not self.record.resources.wanted)
        assert fits == (_resources(pod) == _resources(self.shown))


def _resources(pod: Pod) -> dict[str, ResourceRequirements]:
    return {c.name: c.resources for c in (*pod.spec.init_containers, *pod.spec.containers)}


def _build(name: str, policy: str) -> Container:
    policies = (
        (ContainerResizePolicy(resource_name=policy, restart_policy="RestartContainer"),) if policy else ()
    )
    return builders.container(name, resources=sized(200, 64), resize_policy=policies)


SIZES = st.builds(sized, st.sampled_from((100, 200, 1000, 3000)), st.sampled_from((32, 64, 128)))
WISHES = st.dictionaries(st.sampled_from(_NAMES), SIZES, min_size=1)
POLICIES = st.fixed_dictionaries({name: st.sampled_from(("", "cpu", "memory")) for name in _NAMES})


@settings(deadline=None, max_examples=100)
@given(POLICIES, st.sampled_from(("Always", "OnFailure")), st.lists(WISHES, min_size=1, max_size=4))
def test_one_after_the_other_each_is_reached(
    policies: dict[str, str], restart_policy: str, wishes: list[dict[str, ResourceRequirements]]
) -> None:
    world = World(policies, restart_policy)
    for wanted in wishes:
        world.wish(wanted)
        world.settle()
        world.check_settled()
        assert not world.step(), "a pod that has what it wants needs nothing"


@settings(deadline=None, max_examples=100)
@given(
    POLICIES,
    st.lists(st.tuples(WISHES, st.integers(0, 6), st.booleans()), min_size=1, max_size=5),
)
def test_overtaken_and_forgotten_at_any_moment_the_last_one_is_reached(
    policies: dict[str, str], wishes: list[tuple[dict[str, ResourceRequirements], int, bool]]
) -> None:
    world = World(policies, "Always")
    for wanted, steps, forgets in wishes:
        world.wish(wanted)
        for _ in range(steps):
            world.step()
        if forgets:
            world.forget()
    world.settle()
    world.check_settled()


@settings(deadline=None, max_examples=100)
@given(st.lists(WISHES, min_size=1, max_size=4))
def test_without_a_policy_nothing_is_ever_restarted(wishes: list[dict[str, ResourceRequirements]]) -> None:
    world = World(dict.fromkeys(_NAMES, ""), "Always")
    before = {name: container.id for name, container in world.running().items()}
    for wanted in wishes:
        world.wish(wanted)
        world.settle()
    assert {name: container.id for name, container in world.running().items()} == before


def test_the_bound_can_be_broken() -> None:
    """The check that the other tests rely on."""
    world = World(dict.fromkeys(_NAMES, ""), "Always")
    world.pod_limits = PodLimits(2, 1, 1)
    with pytest.raises(AssertionError):
        world.check()
