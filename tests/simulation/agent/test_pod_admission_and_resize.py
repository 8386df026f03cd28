"""Admission and resize through the lanes, on the fake runtime and virtual time, with the agent dying between.

`tests/runtime` has the kernel's side of a resize; here is what needs a crowd of pods or a moment exactly met.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from agent.journal.entry import Picture, PodName
from agent.journal.store import NoJournal
from agent.pods.goal import SOURCE_ANNOTATION
from agent.pods.resize.wish import with_resources
from kubeapi.core import Node, Taint
from kubeapi.pod import Pod, PodStatus, PodUID, ResourceRequirements
from tests import builders
from tests.fakes.fake_runtime import Fault, Program
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually


class Messages(NoJournal):
    """What each pod waits for now, in sentences."""

    def __init__(self) -> None:
        self.messages: dict[str, tuple[str, ...]] = {}

    def show(self, pod: PodName, picture: Picture) -> None:
        self.messages[pod.uid] = tuple(wait.message for wait in picture.waits)


def requests(cpu: str) -> ResourceRequirements:
    return ResourceRequirements(requests={"cpu": cpu, "memory": "64Mi"}, limits={"cpu": cpu})


def new_pod(name: str, cpu: str = "100m", **metadata: object) -> Pod:
    containers = (builders.container(resources=requests(cpu)),)
    pod = builders.pod(name, spec={"containers": containers}, metadata=metadata or None)
    return msgspec.structs.replace(pod, status=PodStatus())


def resize(world: PodWorld, uid: PodUID, cpu: str) -> None:
    assert world.lanes is not None
    world.api.pods[uid] = with_resources(world.api.pods[uid], {"web": requests(cpu)})
    shown = world.api.read(uid)
    assert shown is not None
    world.lanes.set_pod(shown)


def reasons(world: PodWorld) -> list[str]:
    return [event.reason for event in world.events.events]


def shown_cpu(world: PodWorld, uid: PodUID) -> str:
    resources = world.api.status(uid).container_statuses[0].resources
    return str(resources.limits["cpu"]) if resources is not None else ""


def is_settled(world: PodWorld, uid: PodUID, cpu: str) -> bool:
    types = {condition.type for condition in world.api.status(uid).conditions}
    return shown_cpu(world, uid) == cpu and not types & {"PodResizePending", "PodResizeInProgress"}


def test_an_admitted_pod_is_never_admitted_again() -> None:
    """Neither by a smaller node nor by a lost API server, with or without what the checkpoint knows."""

    async def scenario(world: PodWorld, *, keeps_checkpoint: bool) -> None:
        world.machine = builders.node()
        world.start()
        uids = [world.create(new_pod(f"web-{number}", "1")) for number in range(3)]
        await world.wait(lambda: all(world.is_ready(uid) for uid in uids))
        await world.crash()
        if not keeps_checkpoint:
            world.checkpoint.records.clear()
        world.machine = _shrunken()
        world.max_pods = 1
        before = world.runtime.live_containers()
        world.start()
        await asyncio.sleep(30)
        assert all(world.is_ready(uid) for uid in uids)
        assert world.runtime.live_containers() == before
        refused = world.create(new_pod("late"))
        await world.wait(lambda: world.api.status(refused).phase == "Failed")
        await world.crash()

    for keeps in (True, False):
        run_virtually(scenario(PodWorld(), keeps_checkpoint=keeps))


def _shrunken() -> Node:
    room = {"cpu": "1", "memory": "1Gi", "pods": "1"}
    taints = (Taint(key="gone", effect="NoExecute"),)
    return builders.node(spec={"taints": taints}, status={"allocatable": room})


def test_a_critical_pod_is_made_room_for() -> None:
    async def scenario(world: PodWorld) -> None:
        world.machine = builders.node()
        world.start()
        small, large = world.create(new_pod("small", "1")), world.create(new_pod("large", "2500m"))
        await world.wait(lambda: world.is_ready(small) and world.is_ready(large))
        static = world.create(new_pod("static", "1", annotations={SOURCE_ANNOTATION: "file"}))
        await world.wait(lambda: world.is_ready(static))
        await world.wait(lambda: world.api.status(small).phase == "Failed")
        assert world.api.status(small).reason == "Preempting"
        assert "Preempting" in reasons(world)
        disrupted = {c.type: c.status for c in world.api.status(small).conditions}
        assert disrupted["DisruptionTarget"] == "True"
        assert world.is_ready(large)
        await world.crash()

    run_virtually(scenario(PodWorld()))


@pytest.mark.parametrize("dies", [False, True])
def test_a_critical_pod_starts_when_its_room_is_free(dies: bool) -> None:
    """Not before the last container of those that end for it is gone, whether or not the agent dies."""
    journal = Messages()

    async def scenario(world: PodWorld) -> None:
        world.machine, world.journal = builders.node(), journal
        world.runtime.programs["web"] = Program(term_seconds=12)
        world.start()
        small, large = world.create(new_pod("small", "1")), world.create(new_pod("large", "2500m"))
        await world.wait(lambda: world.is_ready(small) and world.is_ready(large))
        world.runtime.programs["web"] = Program()
        static = world.create(new_pod("static", "1", annotations={SOURCE_ANNOTATION: "file"}))
        if dies:
            await asyncio.sleep(3)
            await world.crash()
            await asyncio.sleep(1)
            world.start()
        await asyncio.sleep(7)
        assert world.runtime.count("RunPodSandbox") == 2
        assert world.api.status(small).phase == "Running"
        assert journal.messages[static] == ("waits for the end of pods that make room for it: default/small",)
        assert await world.wait(lambda: world.is_ready(static)) < 8
        assert world.api.status(small).phase == "Failed"
        await world.crash()

    run_virtually(scenario(PodWorld()))


def test_those_who_wait_are_served_by_their_priority() -> None:
    async def scenario(world: PodWorld) -> None:
        world.machine = builders.node()
        world.start()
        holder = world.create(new_pod("holder", "3"))
        first, second = world.create(new_pod("first")), world.create(_important(new_pod("second")))
        await world.wait(lambda: all(world.is_ready(uid) for uid in (holder, first, second)))
        resize(world, first, "2500m")
        resize(world, second, "2500m")
        await asyncio.sleep(10)
        assert [shown_cpu(world, uid) for uid in (first, second)] == ["100m", "100m"]
        assert reasons(world).count("ResizeDeferred") == 2
        world.delete(holder, grace_seconds=1)
        await world.wait(lambda: is_settled(world, second, "2500m"))
        await asyncio.sleep(10)
        assert shown_cpu(world, first) == "100m"
        world.delete(second, grace_seconds=1)
        await world.wait(lambda: is_settled(world, first, "2500m"))
        await world.crash()

    run_virtually(scenario(PodWorld()))


def _important(pod: Pod) -> Pod:
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, priority=5))


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.UNAVAILABLE, Fault.LOST_ANSWER, Fault.HANG])
def test_an_update_that_fails_says_so_and_is_tried_again(fault: Fault) -> None:
    async def scenario(world: PodWorld) -> None:
        world.start()
        uid = world.create(new_pod("web"))
        await world.wait(lambda: world.is_ready(uid))
        world.runtime.fail_next("UpdateContainerResources", fault)
        resize(world, uid, "200m")
        await asyncio.sleep(200)
        assert is_settled(world, uid, "200m")
        (container,) = world.runtime.live_containers()
        assert world.runtime.resources(container.id).cpu_quota == 20_000
        assert world.files.limits[uid].cpu_quota == 20_000
        assert "ResizeError" in reasons(world)
        assert reasons(world)[-1] == "ResizeCompleted"
        assert world.api.status(uid).container_statuses[0].restart_count == 0
        await world.crash()

    run_virtually(scenario(PodWorld()))


@pytest.mark.parametrize("milliseconds", range(0, 240, 15))
def test_a_crash_at_any_moment_of_a_resize_loses_nothing(milliseconds: int) -> None:
    async def scenario(world: PodWorld) -> None:
        world.start()
        uid = world.create(new_pod("web"))
        await world.wait(lambda: world.is_ready(uid))
        resize(world, uid, "200m")
        await asyncio.sleep(milliseconds / 1000)
        await world.crash()
        await asyncio.sleep(1)
        world.start()
        await world.wait(lambda: is_settled(world, uid, "200m"))
        await asyncio.sleep(5)
        (container,) = world.runtime.live_containers()
        assert world.runtime.resources(container.id).cpu_quota == 20_000
        assert world.files.limits[uid].cpu_quota == 20_000
        assert world.api.status(uid).container_statuses[0].restart_count == 0
        await world.crash()

    run_virtually(scenario(PodWorld()))
