"""From any state, interrupted anywhere, the plan reaches the goal, and then plans nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.pods.goal import Ending, Termination, compute_spec_hash, find_container
from agent.pods.observed import (
    ObservedContainer,
    ObservedPod,
    ObservedSandbox,
    build_observed_pod,
)
from agent.pods.plan import PodPlan
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import ContainerState
from kubeapi.pod import Pod, PodStatus
from tests import builders
from tests.property.agent.pods.plan_world import World

NAMES = ("first", "proxy", "web", "other")


def build_pod() -> Pod:
    pod = builders.pod(
        spec={
            "init_containers": (
                builders.container("first"),
                builders.container("proxy", restart_policy="Always"),
            ),
            "containers": (builders.container("web"), builders.container("other")),
        }
    )
    return msgspec.structs.replace(pod, status=PodStatus())


@st.composite
def observed_pods(draw: st.DrawFn) -> ObservedPod:
    """Anything a runtime might show after crashes and lost answers, two live attempts of a name excepted."""
    sandboxes = [
        ObservedSandbox(SandboxID(f"s{number}"), number, draw(st.booleans()), 100.0 + number, ("10.1.0.1",))
        for number in range(draw(st.integers(0, 3)))
    ]
    containers = []
    for name in NAMES if sandboxes else ():
        states = draw(st.lists(st.sampled_from(tuple(ContainerState)), max_size=3))
        for number, state in enumerate(states):
            if state is ContainerState.RUNNING and number < len(states) - 1:
                state = ContainerState.EXITED
            containers.append(draw(observed_containers(name, number, state, sandboxes)))
    return build_observed_pod(sandboxes, containers)


@st.composite
def observed_containers(
    draw: st.DrawFn, name: str, attempt: int, state: ContainerState, sandboxes: list[ObservedSandbox]
) -> ObservedContainer:
    started = None if state is ContainerState.CREATED else 500.0 + attempt
    finished = 600.0 + attempt if state is ContainerState.EXITED else None
    container = find_container(build_pod(), name)
    assert container is not None
    return ObservedContainer(
        id=ContainerID(f"{name}-{attempt}"),
        sandbox_id=draw(st.sampled_from(sandboxes)).id,
        name=name,
        attempt=attempt,
        state=state,
        created_at=400.0 + attempt,
        restart_count=attempt,
        backoff_seconds=draw(st.sampled_from((0.0, 10.0, 300.0))),
        spec_hash=draw(st.sampled_from((compute_spec_hash(container), "old"))),
        started_at=started,
        finished_at=finished,
        exit_code=draw(st.sampled_from((0, 1))) if finished else 0,
    )


def assert_runs(world: World) -> None:
    (ready,) = [sandbox for sandbox in world.observed.sandboxes if sandbox.ready]
    alive = sorted(c.name for c in world.observed.containers if c.running and c.sandbox_id == ready.id)
    assert alive == ["other", "proxy", "web"]
    assert len([c for c in world.observed.containers if c.running]) == len(alive)


class Ender:
    """Lets init containers end, which no action does."""

    def __init__(self, world: World) -> None:
        self.world = world

    def settle(self) -> None:
        for _ in range(10):
            self.world.settle()
            running = [c for c in self.world.observed.attempts("first") if c.running]
            if not running:
                return
            self.world.end(running[0], 0)


@settings(deadline=None, max_examples=200)
@given(observed_pods())
def test_from_anywhere_the_pod_comes_to_run(observed: ObservedPod) -> None:
    world = World(build_pod(), observed, None)
    Ender(world).settle()
    assert_runs(world)
    assert world.plan().actions == ()


@settings(deadline=None, max_examples=200)
@given(observed_pods(), st.sampled_from(Ending))
def test_from_anywhere_the_pod_comes_to_its_end(observed: ObservedPod, ending: Ending) -> None:
    world = World(build_pod(), observed, Termination(ending, 9_999.0, 30))
    world.settle()
    assert not any(container.running for container in world.observed.containers)
    if ending is not Ending.FAILED:
        assert world.observed.empty
        assert world.plan() == PodPlan(finished=True)


@settings(deadline=None, max_examples=100)
@given(observed_pods(), st.booleans())
def test_interrupted_after_each_action_it_gets_there_all_the_same(observed: ObservedPod, ends: bool) -> None:
    termination = Termination(Ending.DELETED, 9_999.0, 30) if ends else None
    for prefix in range(1, 12):
        world = World(build_pod(), observed, termination)
        _apply_some(world, prefix)
        world.forget()
        Ender(world).settle()
        if ends:
            assert world.observed.empty
        else:
            assert_runs(world)


def _apply_some(world: World, budget: int) -> None:
    while budget > 0:
        actions = world.plan().actions
        if not actions:
            return
        for action in actions[:budget]:
            world.apply(action)
        budget -= len(actions)
