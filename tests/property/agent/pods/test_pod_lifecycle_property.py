"""Random pods in random states: every kind of container, policy, rule and hook, and exits at any time.

The plan comes to rest, at rest it plans nothing, and plan and status tell the same story.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.pods.goal import (
    Ending,
    Termination,
    compute_spec_hash,
    is_ephemeral,
    is_sidecar,
    iterate_containers,
)
from agent.pods.lifecycle import TERMINAL_PHASES, has_failed_init, is_pod_finished, should_restart
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox, build_observed_pod
from agent.pods.plan import PodPlan
from agent.pods.ports import ContainerID, SandboxID
from agent.pods.restart_all import is_restarting, mark_superseded, may_restart_all
from agent.pods.status.pod_status import NodeFacts, compute_pod_status
from agent.runtime.values import ContainerState
from kubeapi.pod import (
    Container,
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

CODES = (0, 1, 42)
POLICIES = ("Always", "OnFailure", "Never")
HOOK = LifecycleHandler(sleep=SleepAction(seconds=1))

single_rules = st.builds(
    ContainerRestartRule,
    action=st.just("Restart"),
    exit_codes=st.builds(
        ContainerRestartRuleExitCodes,
        operator=st.sampled_from(("In", "NotIn")),
        values=st.lists(st.sampled_from(CODES), min_size=1, max_size=2).map(tuple),
    ),
)
# An init container that restarts the pod by its success would do so for ever.
pod_rules = st.builds(
    ContainerRestartRule,
    action=st.just("RestartAllContainers"),
    exit_codes=st.builds(
        ContainerRestartRuleExitCodes,
        operator=st.just("In"),
        values=st.lists(st.sampled_from((1, 42, 143)), min_size=1, max_size=2).map(tuple),
    ),
)
rules = st.one_of(single_rules, pod_rules)
lifecycles = st.builds(
    Lifecycle, post_start=st.sampled_from((None, HOOK)), pre_stop=st.sampled_from((None, HOOK))
)


@st.composite
def containers(draw: st.DrawFn, name: str, *, init: bool) -> Container:
    policy = draw(st.sampled_from((None, None, *POLICIES)))
    sidecar = init and policy == "Always"
    return builders.container(
        name,
        restart_policy=policy,
        restart_policy_rules=draw(st.lists(rules, max_size=2).map(tuple)) if policy else (),
        lifecycle=draw(lifecycles) if sidecar or not init else None,
    )


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    inits = [draw(containers(f"init-{number}", init=True)) for number in range(draw(st.integers(0, 3)))]
    apps = [draw(containers(f"app-{number}", init=False)) for number in range(draw(st.integers(1, 2)))]
    debuggers = [builders.container(f"debugger-{number}") for number in range(draw(st.integers(0, 2)))]
    spec = {
        "init_containers": tuple(inits),
        "containers": tuple(apps),
        "ephemeral_containers": tuple(debuggers),
        "restart_policy": draw(st.sampled_from(POLICIES)),
    }
    return msgspec.structs.replace(builders.pod(spec=spec), status=PodStatus())


@st.composite
def situations(draw: st.DrawFn) -> tuple[Pod, ObservedPod]:
    """A pod, and anything a runtime might show of it; two live attempts of a name excepted."""
    pod = draw(pods())
    sandboxes = [
        ObservedSandbox(SandboxID(f"s{number}"), number, draw(st.booleans()), 100.0 + number, ("10.1.0.1",))
        for number in range(draw(st.integers(0, 2)))
    ]
    seen: list[ObservedContainer] = []
    for container in iterate_containers(pod) if sandboxes else ():
        states = draw(st.lists(st.sampled_from(tuple(ContainerState)), max_size=2))
        for number, state in enumerate(states):
            if state is ContainerState.RUNNING and number < len(states) - 1:
                state = ContainerState.EXITED
            seen.append(draw(attempts(container, number, state, sandboxes)))
    return pod, build_observed_pod(sandboxes, seen)


@st.composite
def attempts(
    draw: st.DrawFn,
    container: Container,
    number: int,
    state: ContainerState,
    sandboxes: list[ObservedSandbox],
) -> ObservedContainer:
    ended = state is ContainerState.EXITED
    return ObservedContainer(
        id=ContainerID(f"{container.name}-{number}"),
        sandbox_id=draw(st.sampled_from(sandboxes)).id,
        name=container.name,
        attempt=number,
        state=state,
        created_at=400.0 + number,
        restart_count=number,
        backoff_seconds=draw(st.sampled_from((0.0, 10.0, 300.0))),
        spec_hash=compute_spec_hash(container),
        started_at=None if state is ContainerState.CREATED else 500.0 + number,
        finished_at=600.0 + number if ended else None,
        exit_code=draw(st.sampled_from(CODES)) if ended else 0,
        pod_restarts=draw(st.integers(0, 1)),
    )


def list_running_inits(world: World) -> list[ObservedContainer]:
    regular = {init.name for init in world.goal.pod.spec.init_containers if not is_sidecar(init)}
    return [c for c in world.observed.containers if c.running and c.name in regular]


def come_to_rest(world: World) -> None:
    """Init containers that run end well, one after another."""
    for _ in range(20):
        world.settle()
        running = list_running_inits(world)
        if not running:
            return
        world.end(running[0], 0)
    raise AssertionError("init containers run over and over")


def assert_at_rest(world: World) -> None:
    pod, observed = world.goal.pod, mark_superseded(world.goal.pod, world.observed)
    assert world.plan().actions == ()
    if not is_pod_finished(pod, observed):
        assert not is_restarting(pod, observed)
        assert len({c.pod_restarts for c in list_newest(pod, observed)}) <= 1
    alive = [container.name for container in observed.containers if container.running]
    assert len(alive) == len(set(alive))
    finished = is_pod_finished(pod, observed)
    if finished:
        assert alive == []
    else:
        assert sorted(alive) == sorted(set(list_expected_alive(pod, observed)))
    status = compute_pod_status(
        world.goal, observed, world.progress, pod.status, NodeFacts(("192.168.0.1",)), world.now
    )
    assert (status.phase in TERMINAL_PHASES) == finished
    if not finished:
        assert status.phase == "Running"
    if has_failed_init(pod, observed) and not have_apps_ended(pod, observed):
        assert status.phase == "Failed"


def have_apps_ended(pod: Pod, observed: ObservedPod) -> bool:
    """Then they decide the phase, and an init container that still ran was merely stopped."""
    newest = [(container, observed.newest(container.name)) for container in pod.spec.containers]
    return all(each and each.dead and not should_restart(pod, container, each) for container, each in newest)


def list_newest(pod: Pod, observed: ObservedPod) -> Iterator[ObservedContainer]:
    """Of pods that can be restarted as a whole, the newest attempt of each container that stays."""
    if may_restart_all(pod):
        for container in (*filter(is_sidecar, pod.spec.init_containers), *pod.spec.containers):
            newest = observed.newest(container.name)
            if newest is not None:
                yield newest


def list_expected_alive(pod: Pod, observed: ObservedPod) -> Iterator[str]:
    """Of a pod that isn't finished: its sidecars, apps that haven't ended for good, ephemeral containers that
    haven't ended.
    """
    for container in iterate_containers(pod):
        newest = observed.newest(container.name)
        if is_sidecar(container) and container in pod.spec.init_containers:
            yield container.name
        elif container in pod.spec.containers:
            if newest is None or not newest.dead or should_restart(pod, container, newest):
                yield container.name
        elif is_ephemeral(pod, container.name) and newest is not None and newest.running:
            yield container.name


def assert_ephemeral_start_once(world: World, before: ObservedPod) -> None:
    for container in world.goal.pod.spec.ephemeral_containers:
        started = [c for c in before.attempts(container.name) if c.state is not ContainerState.CREATED]
        newest = before.newest(container.name)
        created = [action for action in world.created if action.container == container.name]
        assert len(created) <= 1
        if started and newest in started:
            assert created == []


@settings(deadline=None, max_examples=300)
@given(situations())
def test_any_pod_comes_to_rest(situation: tuple[Pod, ObservedPod]) -> None:
    pod, observed = situation
    world = World(pod, observed, None)
    come_to_rest(world)
    assert_at_rest(world)
    assert_ephemeral_start_once(world, observed)


@settings(deadline=None, max_examples=150)
@given(
    situations(), st.lists(st.tuples(st.integers(0, 9), st.sampled_from(CODES), st.booleans()), max_size=5)
)
def test_exits_and_restarts_of_the_agent_bring_it_to_rest_again(
    situation: tuple[Pod, ObservedPod], blows: list[tuple[int, int, bool]]
) -> None:
    pod, observed = situation
    world = World(pod, observed, None)
    for which, code, forgets in blows:
        world.settle()
        running = sorted((c for c in world.observed.containers if c.running), key=lambda c: c.id)
        if running:
            world.end(running[which % len(running)], code)
        if forgets:
            world.forget()
    come_to_rest(world)
    assert_at_rest(world)
    assert_ephemeral_start_once(world, observed)


@settings(deadline=None, max_examples=150)
@given(situations(), st.sampled_from(Ending), st.integers(0, 12))
def test_any_pod_comes_to_its_end_interrupted_anywhere(
    situation: tuple[Pod, ObservedPod], ending: Ending, prefix: int
) -> None:
    pod, observed = situation
    world = World(pod, observed, Termination(ending, 9_999.0, 30))
    for action in world.plan().actions[:prefix]:
        world.apply(action)
    world.forget()
    world.settle()
    assert not any(container.running for container in world.observed.containers)
    if ending is not Ending.FAILED:
        assert world.observed.empty
        assert world.plan() == PodPlan(finished=True)
