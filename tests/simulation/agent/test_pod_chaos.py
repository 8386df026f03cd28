"""The agent dies at each of its steps in turn: before the effect, in the middle of it, or after it, when the
answer is still to come.

Steps are the calls to the runtime that change something, and those of volumes, files, images and the API.
Whatever the moment: one live container of each name, no start that counts as a restart, and nothing left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

import pytest

from kubeapi.pod import Pod
from tests.fakes.fake_runtime import Abandoned, Fault
from tests.simulation.agent.pod_fakes import Trouble
from tests.simulation.agent.pod_schedules import CHANGING, KINDS, PROGRAMS, Kind
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually

_KINDS = {kind.name: kind for kind in KINDS}
_CRASHED = [_KINDS[name] for name in ("plain", "inits", "failing", "hooked", "sleeper", "debugged", "static")]


class Moment(Enum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Death:
    """Kills and revives the agent at the `at`-th step; counts all of them."""

    def __init__(self, world: PodWorld, at: int, moment: Moment) -> None:
        self.seen: list[str] = []
        self.happened = asyncio.Event()
        self._world, self._at, self._moment = world, at, moment
        self._ends = 0
        world.runtime.on_call = self._meet_call
        world.runtime.on_done = lambda rpc, _: rpc in CHANGING and self._note_done()
        world.steps.on_step = self._meet_step
        world.steps.on_done = lambda _: self._note_done()

    def _meet_call(self, rpc: str, target: str) -> Fault | None:
        if rpc not in CHANGING or not self._note_step(rpc):
            return None
        return Fault.HANG if self._moment is Moment.BEFORE else None

    def _meet_step(self, step: str) -> Trouble | None:
        if not self._note_step(step):
            return None
        return Trouble.HANGS if self._moment is Moment.BEFORE else None

    def _note_step(self, step: str) -> bool:
        self.seen.append(step)
        hit = len(self.seen) == self._at and self._moment is not Moment.AFTER
        if hit:
            self.happened.set()
        return hit

    def _note_done(self) -> bool:
        self._ends += 1
        hit = self._ends == self._at and self._moment is Moment.AFTER
        if hit:
            self.happened.set()
        return hit

    async def revive(self) -> None:
        await self.happened.wait()
        await self._world.crash()
        self._world.start()


async def live_and_die(kind: Kind, abandoned: Abandoned, at: int, moment: Moment) -> tuple[PodWorld, Death]:
    """A pod from its creation to its removal, with a death of the agent on the way."""
    world = PodWorld()
    world.runtime.abandoned = abandoned
    world.runtime.programs |= PROGRAMS
    death = Death(world, at, moment)
    world.start()
    pod = kind.build(kind.name)
    (world.set_static if kind.static else world.create)(pod)
    reviver = asyncio.get_running_loop().create_task(death.revive())
    await world.wait(settles(world, kind, pod))
    await asyncio.sleep(1.5)
    restarts = [status.restart_count for status in world.api.status(pod.uid).container_statuses]
    assert set(restarts) <= {0}, f"a start that was cut short counts as a restart: {restarts}"
    ended = [status.state.terminated for status in world.api.status(pod.uid).container_statuses]
    codes = [state.exit_code for state in ended if state is not None]
    assert 128 not in codes, "a start that was cut short counts as an end"
    if kind.static:
        world.remove_static(pod.uid)
    else:
        world.delete(pod.uid, 5)
    await world.wait(lambda: not world.api.pods and world.runtime.is_empty, every=0.1)
    await asyncio.sleep(70 if abandoned is Abandoned.KEEPS else 10)
    if not death.happened.is_set():
        reviver.cancel()
    await asyncio.gather(reviver, return_exceptions=True)
    await world.crash()
    return world, death


def settles(world: PodWorld, kind: Kind, pod: Pod) -> Callable[[], bool]:
    if kind.ends_as == "Ready":
        return lambda: world.running and world.shows_ready(pod.uid)
    return lambda: world.api.status(pod.uid).phase == kind.ends_as


def check(world: PodWorld, where: str) -> None:
    assert not world.find_violations(), f"{where}: {world.find_violations()}"
    assert not world.find_leaks(), f"{where}: {world.find_leaks()}"


@pytest.mark.parametrize(
    ("moment", "abandoned"),
    [
        (Moment.BEFORE, Abandoned.ROLLS_BACK),
        *((moment, abandoned) for moment in (Moment.DURING, Moment.AFTER) for abandoned in Abandoned),
    ],
)
@pytest.mark.parametrize("kind", _CRASHED, ids=lambda kind: kind.name)
def test_a_death_at_any_step_changes_nothing_in_the_end(
    kind: Kind, abandoned: Abandoned, moment: Moment
) -> None:
    _, alive = run_virtually(live_and_die(kind, abandoned, 0, moment))
    assert len(alive.seen) > 7
    for at in range(1, len(alive.seen) + 1):
        where = (
            f"{kind.name} dies {moment.value} step {at}, {alive.seen[at - 1]}; the runtime {abandoned.value}"
        )
        try:
            world, death = run_virtually(live_and_die(kind, abandoned, at, moment))
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        assert death.happened.is_set() or moment is Moment.AFTER, where
        check(world, where)
