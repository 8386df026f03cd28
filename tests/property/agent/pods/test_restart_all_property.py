"""Pods that are restarted as a whole, with exits and crashes of the agent at any time.

Each exit that asks for it brings one restart: every container runs again, init containers first.
"""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.pods.actions import CreateContainer, RunPodSandbox, RunPreStopHook, StopPodSandbox
from agent.pods.goal import is_sidecar
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.restart_all import is_restarting, mark_superseded
from agent.runtime.values import ContainerState
from kubeapi.pod import (
    ContainerRestartRule,
    ContainerRestartRuleExitCodes,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodStatus,
    SleepAction,
)
from tests import builders
from tests.property.agent.pods.plan_world import World

ASKS = 42
RULE = ContainerRestartRule(
    action="RestartAllContainers", exit_codes=ContainerRestartRuleExitCodes(operator="In", values=(ASKS,))
)
HOOK = LifecycleHandler(sleep=SleepAction(seconds=1))


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Every container may ask for the restart; otherwise none of the app containers ever comes back."""
    sidecars = draw(st.lists(st.booleans(), max_size=3))
    inits = tuple(
        builders.container(
            f"init-{number}",
            restart_policy="Always" if sidecar else "Never",
            restart_policy_rules=(RULE,),
        )
        for number, sidecar in enumerate(sidecars)
    )
    apps = tuple(
        builders.container(
            f"app-{number}",
            restart_policy="Never",
            restart_policy_rules=(RULE,),
            lifecycle=Lifecycle(pre_stop=HOOK),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    spec = {"init_containers": inits, "containers": apps, "restart_policy": "Never"}
    return msgspec.structs.replace(builders.pod(spec=spec), status=PodStatus())


def run(world: World, steps: list[int], seen: list[object]) -> None:
    """To rest, init containers ending well; `steps`: after how many actions the agent dies, each time."""
    crashes = list(steps)
    left = crashes.pop(0) if crashes else None
    for _ in range(400):
        plan = world.plan()
        for action in plan.actions:
            seen.append(action)
            world.apply(action)
            if left is not None:
                left -= 1
                if left <= 0:
                    world.forget()
                    left = crashes.pop(0) if crashes else None
                    break
        if plan.actions:
            continue
        if plan.next_look is not None:
            assert plan.next_look > world.now
            world.now = plan.next_look
        elif not end_next_init(world):
            return
    raise AssertionError("it goes on for ever")


def end_next_init(world: World) -> bool:
    regular = {init.name for init in world.goal.pod.spec.init_containers if not is_sidecar(init)}
    running = [c for c in world.observed.containers if c.running and c.name in regular]
    for container in running[:1]:
        world.end(container, 0)
    return bool(running)


def list_alive(observed: ObservedPod) -> list[ObservedContainer]:
    return sorted((c for c in observed.containers if c.running), key=lambda c: c.name)


@settings(deadline=None, max_examples=200)
@given(
    pods(),
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 5), min_size=1, max_size=3), st.lists(st.integers(1, 9), max_size=4)
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_every_request_restarts_everything_once(pod: Pod, rounds: list[tuple[list[int], list[int]]]) -> None:
    world = World(pod, ObservedPod(), None)
    seen: list[object] = []
    run(world, [], seen)
    sandbox = world.observed.sandbox
    for number, (asking, crashes) in enumerate(rounds, start=1):
        alive = list_alive(world.observed)
        assert [c.name for c in alive] == sorted(
            [c.name for c in pod.spec.init_containers if is_sidecar(c)]
            + [c.name for c in pod.spec.containers]
        )
        for container in {alive[which % len(alive)] for which in asking}:
            world.end(container, ASKS)
        seen.clear()
        run(world, crashes, seen)
        assert_restarted(world, pod, number, seen)
        assert world.observed.sandbox == sandbox


def assert_restarted(world: World, pod: Pod, number: int, seen: list[object]) -> None:
    observed = mark_superseded(pod, world.observed)
    assert not is_restarting(pod, observed)
    created = [action.container for action in seen if isinstance(action, CreateContainer)]
    inits = [init.name for init in pod.spec.init_containers]
    assert created[: len(inits)] == inits
    assert sorted(created) == sorted([*inits, *(app.name for app in pod.spec.containers)])
    for name in created:
        newest = observed.newest(name)
        assert newest is not None
        assert (newest.pod_restarts, newest.restart_count) == (number, number)
    assert not any(isinstance(each, RunPreStopHook | RunPodSandbox | StopPodSandbox) for each in seen)


@settings(deadline=None, max_examples=100)
@given(pods(), st.integers(0, 12), st.integers(0, 3))
def test_an_init_container_asks_before_anything_else_runs(pod: Pod, steps: int, which: int) -> None:
    """At any point of the start, whatever has begun by then."""
    world = World(pod, ObservedPod(), None)
    for _ in range(steps):
        for action in world.plan().actions[:1]:
            world.apply(action)
    running = list_alive(world.observed)
    for container in running[which : which + 1]:
        world.end(container, ASKS)
    world.forget()
    run(world, [], [])
    asked = bool(running[which : which + 1])
    newest = [world.observed.newest(c.name) for c in (*pod.spec.init_containers, *pod.spec.containers)]
    assert {each.pod_restarts for each in newest if each is not None} == {int(asked)}
    assert all(each is not None and each.state is not ContainerState.CREATED for each in newest)
