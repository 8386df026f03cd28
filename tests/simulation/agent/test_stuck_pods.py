"""One pod among ten, for which one kind of call never returns: the others don't notice, and it says what
hangs within 30 s, in an event and in its picture in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from agent.images.source import CRIImages
from agent.journal.entry import Entry, Picture, PodName
from agent.pods.pod_events import describe_probe_failure
from agent.pods.ports import ContainerID, ProbeFailure, ProbeTarget, ProbeTrouble
from agent.probes.check import CheckResult
from agent.probes.plan import Outcome
from agent.probes.runner import TaskProbeRunner
from agent.runtime.relist import Relist
from agent.runtime.values import RuntimeImage
from kubeapi.pod import (
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodStatus,
    PodUID,
    Probe,
    TCPSocketAction,
)
from tests import builders
from tests.fakes.fake_runtime import Program
from tests.fakes.runtime_faults import Fault
from tests.simulation.agent.pod_fakes import Trouble
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually, wall_clock

_NORMAL_SECONDS = 1.5  # ten pods at once, of three calls of 0.05 s each, and a relist or two
_PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class MemoryJournal:
    """What every pod looks like now, and all that was noted of it."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)

    def note(self, pod: PodName, entry: Entry) -> None:
        self.entries.setdefault(pod.uid, []).append(entry)

    def show(self, pod: PodName, picture: Picture) -> None:
        self.pictures[pod.uid] = picture

    def close(self, pod: PodName) -> None:
        self.pictures.pop(pod.uid, None)

    def names(self, uid: str, call: str) -> bool:
        """Whether the pod says that this call is what it waits for."""
        picture = self.pictures.get(uid)
        waits = picture.waits if picture is not None else ()
        return any(call in wait.message or (wait.call and call in wait.call.name) for wait in waits)


def new_pod(name: str, **spec: object) -> Pod:
    return msgspec.structs.replace(builders.pod(name, spec=spec), status=PodStatus())


STUCK = new_pod("stuck")


def hang(world: PodWorld, rpc: str, uid: PodUID) -> None:
    """From now on this call of this pod never returns, however often it is made."""

    def choose(called: str, target: str) -> Fault | None:
        owned = uid in target or world.runtime.find_owner(target) == uid
        return Fault.HANG if called == rpc and owned else None

    world.runtime.on_call = choose


def told(world: PodWorld, call: str) -> Callable[[], bool]:
    """Whether an event and the pod's picture name the call."""
    journal = world.journal
    assert isinstance(journal, MemoryJournal)
    return lambda: (
        any(call in event.message for event in world.events.events) and journal.names(STUCK.uid, call)
    )


def play(scenario: Callable[[PodWorld], Awaitable[None]]) -> PodWorld:
    async def main() -> PodWorld:
        world = PodWorld()
        world.journal = MemoryJournal()
        world.start()
        await scenario(world)
        await world.crash()
        return world

    world = run_virtually(main())
    assert world.runtime.violations == []
    return world


async def start_others(world: PodWorld, name: str = "fine") -> list[PodUID]:
    """Nine pods beside the stuck one, ready in normal time."""
    others = [world.create(new_pod(f"{name}-{number}")) for number in range(9)]
    assert await world.wait(lambda: all(map(world.is_ready, others))) < _NORMAL_SECONDS
    return others


async def start_one(world: PodWorld, name: str) -> float:
    """How long one more pod takes to be ready."""
    uid = world.create(new_pod(name))
    return await world.wait(lambda: world.is_ready(uid))


async def end_others(world: PodWorld, others: list[PodUID]) -> None:
    for uid in others:
        world.delete(uid)
    assert await world.wait(lambda: not any(uid in world.api.pods for uid in others)) < _NORMAL_SECONDS


@pytest.mark.parametrize(
    ("rpc", "named"),
    [
        ("ListPodSandbox", "ListPodSandbox"),
        ("ListContainers", "ListContainers"),
        ("ReadPodSandboxStatus", "PodSandboxStatus"),
        ("ReadContainerStatus", "ContainerStatus"),
        ("RunPodSandbox", "RunPodSandbox"),
        ("CreateContainer", "CreateContainer"),
        ("StartContainer", "StartContainer"),
    ],
)
def test_a_call_that_hangs_while_a_pod_starts_is_named_and_stops_nobody_else(rpc: str, named: str) -> None:
    async def scenario(world: PodWorld) -> None:
        hang(world, rpc, STUCK.uid)
        world.create(STUCK)
        others = await start_others(world)
        assert await world.wait(told(world, named)) < _PATIENCE_SECONDS
        await asyncio.sleep(120)
        assert all(map(world.is_ready, others))
        await end_others(world, others)
        world.runtime.on_call = None
        await world.wait(lambda: world.is_ready(STUCK.uid), seconds=400)

    play(scenario)


def test_among_fifty_a_new_pod_starts_in_normal_time_beside_one_that_hangs() -> None:
    async def scenario(world: PodWorld) -> None:
        others = [world.create(new_pod(f"fine-{number}")) for number in range(49)]
        await world.wait(lambda: all(map(world.is_ready, others)))
        usual = await start_one(world, "before")
        hang(world, "CreateContainer", STUCK.uid)
        world.create(STUCK)
        for number in range(10):
            await asyncio.sleep(5)
            assert await start_one(world, f"after-{number}") <= usual + 0.05
        assert told(world, "CreateContainer")()
        assert all(map(world.is_ready, others))

    play(scenario)


@pytest.mark.parametrize("rpc", ["StopContainer", "StopPodSandbox", "RemovePodSandbox"])
def test_a_call_that_hangs_while_a_pod_ends_is_named_and_stops_nobody_else(rpc: str) -> None:
    async def scenario(world: PodWorld) -> None:
        world.create(STUCK)
        others = await start_others(world)
        await world.wait(lambda: world.is_ready(STUCK.uid))
        hang(world, rpc, STUCK.uid)
        world.delete(STUCK.uid, grace_seconds=2)
        # A stop is given its grace period first.
        assert await world.wait(told(world, rpc)) < _PATIENCE_SECONDS
        await end_others(world, others)
        await start_others(world, "later")
        world.runtime.on_call = None
        await world.wait(lambda: STUCK.uid not in world.api.pods, seconds=400)

    play(scenario)


@pytest.mark.parametrize(
    ("step", "ends"),
    [("PrepareVolumes", False), ("EnsureImage", False), ("RemoveVolumes", True), ("RemovePodFiles", True)],
)
def test_files_and_pulls_that_hang_are_named_and_stop_nobody_else(step: str, ends: bool) -> None:
    async def scenario(world: PodWorld) -> None:
        left = [Trouble.HANGS]

        def choose(called: str) -> Trouble | None:
            return left.pop() if called == step and left else None

        for part in (world.volumes, world.images, world.files):
            part.steps.on_step = choose
        if ends:
            world.create(STUCK)
            await world.wait(lambda: world.is_ready(STUCK.uid))
            world.delete(STUCK.uid, grace_seconds=2)
            await world.wait(lambda: not left)
        else:
            world.create(STUCK)
            await world.wait(lambda: not left)
        others = await start_others(world)
        assert await world.wait(told(world, step)) < _PATIENCE_SECONDS
        await end_others(world, others)

    play(scenario)


def test_a_hook_that_hangs_keeps_only_its_own_container_unready() -> None:
    hook = LifecycleHandler(exec=ExecAction(command=(STUCK.uid,)))
    hooked = builders.container(lifecycle=Lifecycle(post_start=hook))

    async def scenario(world: PodWorld) -> None:
        hang(world, "ExecSync", STUCK.uid)
        world.create(new_pod("stuck", containers=(hooked,)))
        others = await start_others(world)
        assert await world.wait(told(world, "RunPostStartHook")) < _PATIENCE_SECONDS
        await end_others(world, others)

    play(scenario)


def test_the_waiting_message_names_the_call_in_the_api_too() -> None:
    async def scenario(world: PodWorld) -> None:
        hang(world, "RunPodSandbox", STUCK.uid)
        world.create(STUCK)

        def says() -> bool:
            statuses = world.api.status(STUCK.uid).container_statuses
            waiting = statuses[0].state.waiting if statuses else None
            return (
                waiting is not None and "RunPodSandbox of attempt 0 has not returned since" in waiting.message
            )

        assert await world.wait(says) < _PATIENCE_SECONDS
        reasons = {event.reason for event in world.events.events if event.warning}
        assert reasons == {"FailedCreatePodSandBox"}

    play(scenario)


def test_a_container_whose_status_never_comes_goes_on_and_its_pod_can_be_deleted() -> None:
    async def scenario(world: PodWorld) -> None:
        world.create(STUCK)
        await world.wait(lambda: world.is_ready(STUCK.uid))
        await world.crash()
        hang(world, "ReadContainerStatus", STUCK.uid)
        world.start()
        await world.wait(told(world, "ContainerStatus"))
        assert len(world.runtime.live_containers()) == 1
        world.delete(STUCK.uid, grace_seconds=2)
        assert await world.wait(lambda: STUCK.uid not in world.api.pods) < 60

    world = play(scenario)
    assert world.runtime.is_empty


def test_an_exit_nobody_can_tell_of_does_not_count_as_a_success() -> None:
    pod = msgspec.structs.replace(new_pod("stuck", restart_policy="OnFailure"), metadata=STUCK.metadata)

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(seconds=5)
        world.create(pod)
        await world.wait(lambda: world.runtime.count("StartContainer") == 1)
        await asyncio.sleep(1)
        hang(world, "ReadContainerStatus", STUCK.uid)
        await asyncio.sleep(60)
        assert world.api.status(pod.uid).phase != "Succeeded"
        world.runtime.on_call = None
        await world.wait(lambda: world.api.status(pod.uid).phase == "Succeeded")

    play(scenario)


def test_lists_that_hang_for_all_are_a_stall_of_the_node_after_three_minutes_only() -> None:
    async def main() -> None:
        world = PodWorld()
        relist = Relist(world.runtime, lambda pods: None)
        task = asyncio.get_running_loop().create_task(relist.run())
        await asyncio.sleep(5)
        world.runtime.on_call = lambda rpc, target: Fault.HANG if rpc == "ListContainers" else None
        began = wall_clock()
        await asyncio.sleep(170)
        assert relist.find_stall() == ""
        await world.wait(lambda: relist.find_stall() != "")
        assert 175 < wall_clock() - began < 185
        assert "PLEG is not healthy" in relist.find_stall()
        world.runtime.on_call = None
        await world.wait(lambda: relist.find_stall() == "", seconds=20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(main())


# --- what pods share ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class HangingRegistries:
    """Registries named `dead…` take every pull and never answer; the others answer after a second."""

    images: set[str] = field(default_factory=set)

    async def read_image_status(self, image: str) -> RuntimeImage | None:
        return RuntimeImage(image, (image,), (), 1, None, "") if image in self.images else None

    async def pull_image(self, image: str) -> str:
        await asyncio.sleep(1e9 if image.startswith("dead") else 1.0)
        self.images.add(image)
        return image


def test_pulls_that_hang_give_their_places_to_others() -> None:
    """Twenty of them would otherwise hold every place there is, for an hour."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        registries = HangingRegistries()
        images = CRIImages(registries, loop.time)
        stuck = [
            loop.create_task(
                images.ensure_image(
                    new_pod(f"stuck-{number}"),
                    builders.container(image=f"dead{number % 5}.example/none:{number}"),
                )
            )
            for number in range(20)
        ]
        await asyncio.sleep(1)
        wanted = builders.container(image="alive.example/web:1")
        async with asyncio.timeout(12):
            assert (await images.ensure_image(new_pod("fine"), wanted)).pulled
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await images.aclose()

    run_virtually(main())


class HangingCheck:
    """A container that takes every connection and never says a word."""

    async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult:
        await asyncio.sleep(probe.timeout_seconds)
        return Outcome.FAILED, "no answer"


def test_a_probe_that_hangs_is_told_of_long_before_its_timeout() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        runner = TaskProbeRunner(HangingCheck(), wall_clock)
        told: list[tuple[float, ProbeFailure]] = []
        runner.subscribe_failures(lambda failure: told.append((loop.time(), failure)))
        probe = Probe(tcp_socket=TCPSocketAction(port=80), timeout_seconds=3600)
        probed = builders.container(readiness_probe=probe)
        pod = new_pod("stuck", containers=(probed,))
        runner.set_targets(pod.uid, (ProbeTarget(pod, probed, ContainerID("c1"), "10.0.0.1", wall_clock()),))
        await asyncio.sleep(_PATIENCE_SECONDS)
        ((at, failure),) = told
        assert at < _PATIENCE_SECONDS
        assert failure.trouble is ProbeTrouble.HANGS
        event = describe_probe_failure(failure)
        assert (event.reason, event.warning, event.container) == ("Unhealthy", True, "web")
        assert event.message == "Readiness probe hangs: no answer for 20 s, of the 3600 s that it has"
        await runner.aclose()

    run_virtually(main())
