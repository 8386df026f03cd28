"""Outcomes that come late, and wishes that come back: one direct scenario for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agent.pods.config.sandbox_config import build_sandbox_config
from tests.fakes.fake_runtime import Abandoned, Fault, Program
from tests.simulation.agent.pod_fakes import Trouble
from tests.simulation.agent.pod_schedules import KINDS, new_pod
from tests.simulation.agent.pod_world import ENVIRONMENT, PodWorld
from tests.simulation.agent.virtual_time import run_virtually

Scenario = Callable[[PodWorld], Awaitable[None]]


def play(scenario: Scenario, abandoned: Abandoned = Abandoned.GOES_ON) -> PodWorld:
    """The scenario with a running agent; then nothing is left and no rule was broken."""

    async def main() -> PodWorld:
        world = PodWorld()
        world.runtime.abandoned = abandoned
        world.start()
        world.sync()
        await scenario(world)
        await world.wait(lambda: world.runtime.is_empty and not world.runtime.busy, every=1.0)
        await asyncio.sleep(10)
        await world.crash()
        return world

    world = run_virtually(main())
    assert not world.find_violations()
    assert not world.find_leaks()
    return world


@pytest.mark.parametrize("abandoned", Abandoned)
def test_a_sandbox_that_takes_longer_than_its_deadline_leaves_one_that_works(abandoned: Abandoned) -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.slow_seconds = lambda: 300.0
        world.runtime.fail_next("RunPodSandbox", Fault.SLOW)
        uid = world.create(new_pod("web-1"))
        await world.wait(lambda: world.is_ready(uid), seconds=400, every=1.0)
        await asyncio.sleep(100)
        ready = [s for s in await world.runtime.list_pod_sandboxes() if s.ready]
        assert len(ready) == 1
        world.delete(uid)

    world = play(scenario, abandoned)
    assert world.runtime.count("StartContainer") == 1


def test_a_sandbox_that_shows_after_its_pod_has_gone_is_removed() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.slow_seconds = lambda: 60.0
        world.runtime.fail_next("RunPodSandbox", Fault.SLOW)
        uid = world.create(new_pod("web-1"))
        await asyncio.sleep(1)
        world.delete(uid)
        assert await world.wait(lambda: uid not in world.api.pods, every=0.1) < 11
        assert world.runtime.is_empty
        await world.wait(lambda: not world.runtime.is_empty, every=0.1)

    play(scenario)


def test_a_container_that_shows_after_its_sandbox_has_gone_is_removed() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.slow_seconds = lambda: 60.0
        world.runtime.fail_next("CreateContainer", Fault.SLOW)
        uid = world.create(new_pod("web-1"))
        await asyncio.sleep(1)
        world.delete(uid)
        await world.wait(lambda: uid not in world.api.pods, every=0.1)
        assert world.runtime.is_empty
        await world.wait(lambda: not world.runtime.is_empty, every=0.1)

    play(scenario)


def test_a_sandbox_that_failed_and_was_not_undone_is_replaced_and_removed() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.fail_next("RunPodSandbox", Fault.HALF_NETWORK)
        uid = world.create(new_pod("web-1"))
        await world.wait(lambda: world.is_ready(uid))
        await asyncio.sleep(5)
        (sandbox,) = await world.runtime.list_pod_sandboxes()
        assert (sandbox.attempt, sandbox.ready) == (1, True)
        world.delete(uid)

    play(scenario)


def test_many_orphans_that_cannot_be_read_keep_no_new_pod_waiting() -> None:
    async def scenario(world: PodWorld) -> None:
        for number in range(3):
            await world.runtime.run_pod_sandbox(build_sandbox_config(new_pod(f"o-{number}"), 0, ENVIRONMENT))
        hanging = {f"uid-o-{number}" for number in range(3)}
        world.runtime.on_call = lambda rpc, target: Fault.HANG if target in hanging else None
        await asyncio.sleep(2)
        uid = world.create(new_pod("web-1"))
        assert await world.wait(lambda: world.is_ready(uid)) < 0.5
        world.runtime.on_call = None
        world.delete(uid)

    play(scenario)


def test_a_static_pod_that_comes_back_while_it_is_taken_down_begins_anew() -> None:
    static = next(kind for kind in KINDS if kind.static).build("static")

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(term_seconds=3.0)
        world.set_static(static)
        await world.wait(lambda: world.shows_ready(static.uid))
        world.remove_static(static.uid)
        await asyncio.sleep(1)
        world.set_static(static)
        await world.wait(lambda: world.runtime.count("StartContainer") == 2)
        await world.wait(lambda: world.shows_ready(static.uid))
        world.remove_static(static.uid)

    assert play(scenario).runtime.count("RunPodSandbox") == 2


def test_a_late_event_does_not_undo_a_deletion() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(term_seconds=None)
        uid = world.create(new_pod("web-1"))
        await world.wait(lambda: world.is_ready(uid))
        older = world.api.read(uid)
        assert older is not None
        assert world.lanes is not None
        world.delete(uid, 7)
        await asyncio.sleep(2)
        world.lanes.set_pod(older)
        assert 4 < await world.wait(lambda: uid not in world.api.pods) < 7

    assert play(scenario).runtime.count("StartContainer") == 1


def test_a_directory_that_hangs_once_is_tried_again() -> None:
    async def scenario(world: PodWorld) -> None:
        troubles = [Trouble.HANGS]
        world.steps.on_step = lambda step: troubles.pop() if step == "PreparePod" and troubles else None
        uid = world.create(new_pod("web-1"))
        await world.wait(lambda: world.is_ready(uid), seconds=70)
        world.delete(uid)

    play(scenario)
