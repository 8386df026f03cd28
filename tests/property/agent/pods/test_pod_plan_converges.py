"""From any state, interrupted anywhere, the plan reaches the goal, and then plans nothing.

The world here is as small as it can be: actions change the facts at once. What the runtime really does is the
simulations' matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.pods.actions import (
    Action,
    CreateContainer,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RemovePodFiles,
    RemovePodSandbox,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash, find_container
from agent.pods.observed import (
    ObservedContainer,
    ObservedPod,
    ObservedSandbox,
    build_observed_pod,
)
from agent.pods.outcomes import ActionResult, ImageEnsured, VolumesPrepared, note_success
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID
from agent.pods.progress import Progress
from agent.runtime.values import ContainerState
from kubeapi.pod import Pod, PodStatus
from tests import builders

_STEPS = 60


class World:
    """One pod's facts and a clock; `forget` is a restart of the agent."""

    def __init__(self, pod: Pod, observed: ObservedPod, termination: Termination | None) -> None:
        self.goal = PodGoal(pod, termination)
        self.observed = observed
        self.progress = Progress()
        self.now = 10_000.0
        self.count = 100

    def plan(self) -> PodPlan:
        return plan_pod(self.goal, self.observed, self.progress, self.now)

    def forget(self) -> None:
        self.progress = Progress()

    def apply(self, action: Action) -> None:
        self.count += 1
        self.now += 0.1
        result = self._change(action)
        self.progress = note_success(self.progress, action, result)

    def _change(self, action: Action) -> ActionResult:
        match action:
            case RunPodSandbox(attempt):
                assert attempt not in {sandbox.attempt for sandbox in self.observed.sandboxes}
                new = ObservedSandbox(SandboxID(f"s{self.count}"), attempt, True, self.now, ("10.1.0.9",))
                self._set((*self.observed.sandboxes, new), self.observed.containers)
            case StopPodSandbox(sandbox_id):
                self._set(
                    tuple(
                        replace(s, ready=False) if s.id == sandbox_id else s for s in self.observed.sandboxes
                    ),
                    tuple(
                        self._exit(c, 137) if c.sandbox_id == sandbox_id else c
                        for c in self.observed.containers
                    ),
                )
            case RemovePodSandbox(sandbox_id):
                self._set(
                    tuple(s for s in self.observed.sandboxes if s.id != sandbox_id),
                    tuple(c for c in self.observed.containers if c.sandbox_id != sandbox_id),
                )
            case CreateContainer():
                self._create(action)
            case StartContainer(name, container_id):
                alive = [c for c in self.observed.attempts(name) if c.running]
                assert not alive, f"two live containers of {name}"
                self._update(container_id, state=ContainerState.RUNNING, started_at=self.now)
            case StopContainer(_, container_id):
                found = next(c for c in self.observed.containers if c.id == container_id)
                ended = self._exit(found, 143)
                self._update(container_id, state=ended.state, finished_at=self.now, exit_code=143)
            case RemoveContainer(_, container_id):
                kept = tuple(c for c in self.observed.containers if c.id != container_id)
                self._set(self.observed.sandboxes, kept)
            case EnsureImage():
                return ImageEnsured(LocalImage("sha256:x", 0, ""))
            case PrepareVolumes():
                return VolumesPrepared({})
            case (
                RefreshVolumes()
                | RemoveVolumes()
                | RemovePodFiles()
                | DeletePod()
                | RunPreStopHook()
                | RunPostStartHook()
            ):
                pass
            case _:
                assert_never(action)
        return None

    def _create(self, action: CreateContainer) -> None:
        names = {(c.name, c.attempt) for c in self.observed.containers}
        assert (action.container, action.attempt) not in names
        container = find_container(self.goal.pod, action.container)
        assert container is not None
        new = ObservedContainer(
            id=ContainerID(f"c{self.count}"),
            sandbox_id=action.sandbox_id,
            name=action.container,
            attempt=action.attempt,
            state=ContainerState.CREATED,
            created_at=self.now,
            restart_count=action.restart_count,
            backoff_seconds=action.backoff_seconds,
            spec_hash=compute_spec_hash(container),
        )
        self._set(self.observed.sandboxes, (*self.observed.containers, new))

    def _exit(self, container: ObservedContainer, code: int) -> ObservedContainer:
        if not container.running:
            return container
        return replace(container, state=ContainerState.EXITED, finished_at=self.now, exit_code=code)

    def _update(self, container_id: ContainerID, **changes: object) -> None:
        updated = tuple(
            replace(c, **changes) if c.id == container_id else c  # type: ignore[arg-type]
            for c in self.observed.containers
        )
        self._set(self.observed.sandboxes, updated)

    def _set(self, sandboxes: tuple[ObservedSandbox, ...], containers: tuple[ObservedContainer, ...]) -> None:
        self.observed = build_observed_pod(sandboxes, containers)

    def settle(self) -> None:
        """Applies plans until there is nothing to do but wait, and lets waits pass."""
        for _ in range(_STEPS):
            plan = self.plan()
            if plan.finished:
                return
            if not plan.actions and plan.next_look is None:
                return
            if not plan.actions and plan.next_look is not None:
                assert plan.next_look > self.now, "a look in the past would spin"
                self.now = plan.next_look
            for action in plan.actions:
                self.apply(action)
        raise AssertionError(f"no end after {_STEPS} plans; the last: {self.plan()}")


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
            self.world._update(
                running[0].id, state=ContainerState.EXITED, finished_at=self.world.now, exit_code=0
            )


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
