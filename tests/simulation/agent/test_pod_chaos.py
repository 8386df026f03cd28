"""Many seeded schedules of refused, lost and hanging calls, crashes of the agent and of containers.

What must hold in each: never two live containers of one name, never two ready sandboxes of one pod, all pods
converge once the faults stop, and after their deletion nothing is left. A failing seed is named and plays the
same again.
"""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from kubeapi.pod import Pod, PodStatus
from tests import builders
from tests.fakes.fake_runtime import Fault, Program
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually

_CHANGING = (
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
)
_SEEDS_PER_TEST = 40


def new_pod(name: str, **spec: object) -> Pod:
    return msgspec.structs.replace(builders.pod(name, spec=spec), status=PodStatus())


class Mischief:
    """Faults with a seed: what the runtime does to each call while `on`."""

    def __init__(self, seed: int, rate: float) -> None:
        self.random = random.Random(seed)
        self.rate = rate
        self.on = True

    def __call__(self, rpc: str, target: str) -> Fault | None:
        if not self.on or self.random.random() >= self.rate:
            return None
        if rpc in _CHANGING:
            return self.random.choice(tuple(Fault))
        return Fault.UNAVAILABLE


def make_pods() -> list[Pod]:
    sidecar = builders.container("proxy", restart_policy="Always")
    return [
        new_pod("plain"),
        new_pod("two", containers=(builders.container("left"), builders.container("right"))),
        new_pod("inits", init_containers=(builders.container("first"), sidecar)),
        new_pod("crashing", containers=(builders.container("crasher"),)),
        new_pod("job", restart_policy="OnFailure", containers=(builders.container("worker"),)),
    ]


def has_converged(world: PodWorld) -> bool:
    ready = all(
        world.is_ready(pod.uid) for pod in make_pods() if pod.metadata.name not in ("crashing", "job")
    )
    return ready and world.api.status(make_pods()[4].uid).phase == "Succeeded"


async def play(seed: int) -> PodWorld:
    world = PodWorld(seed)
    mischief = Mischief(seed, rate=0.15)
    world.runtime.on_call = mischief
    world.runtime.programs |= {
        "first": Program(seconds=1),
        "crasher": Program(seconds=2, exit_code=1),
        "worker": Program(seconds=3),
    }
    world.start()
    for pod in make_pods():
        world.create(pod)
    for _ in range(mischief.random.randrange(1, 6)):
        await asyncio.sleep(mischief.random.uniform(0.01, 20))
        await make_trouble(world, mischief.random)
    world.api.reachable = True
    mischief.on = False
    if world.lanes is None:
        world.start()
    world.sync()
    await world.wait(lambda: has_converged(world), seconds=900, every=0.5)
    for pod in make_pods():
        world.delete(pod.uid, grace_seconds=5)
    await world.wait(lambda: not world.api.pods and world.runtime.is_empty, seconds=900, every=0.5)
    await asyncio.sleep(5)
    return world


async def make_trouble(world: PodWorld, dice: random.Random) -> None:
    match dice.randrange(5):
        case 0:
            await world.crash()
            world.start()
        case 1:
            world.api.reachable = not world.api.reachable
            if world.api.reachable:
                world.sync()
        case 2:
            for container in world.runtime.live_containers()[:2]:
                world.runtime.kill_container(container.id)
        case 3:
            for sandbox_id in world.runtime.sandbox_ids()[:1]:
                world.runtime.kill_sandbox(sandbox_id)
        case _:
            await world.crash()
            world.runtime.reboot()
            world.start()


@pytest.mark.parametrize("batch", range(5))
def test_random_faults_never_double_leak_or_block_a_pod(batch: int) -> None:
    for seed in range(batch * _SEEDS_PER_TEST, (batch + 1) * _SEEDS_PER_TEST):
        try:
            world = run_virtually(play(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert world.runtime.violations == [], f"seed {seed}"
        assert world.runtime.is_empty, f"seed {seed}"
        assert not world.files.pods, f"seed {seed}"
        assert not world.volumes.prepared, f"seed {seed}"
        assert not world.checkpoint.records, f"seed {seed}"


def _count_changing_calls() -> int:
    async def main() -> int:
        world = PodWorld()
        world.start()
        uid = world.create(new_pod("plain"))
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid)
        await world.wait(lambda: uid not in world.api.pods)
        await world.crash()
        return sum(world.runtime.count(rpc) for rpc in _CHANGING)

    return run_virtually(main())


@pytest.mark.parametrize("fault", [None, *Fault])
def test_a_crash_at_each_call_in_turn_changes_nothing_in_the_end(fault: Fault | None) -> None:
    """The agent dies right at the n-th call that changes something, whose outcome is good, bad or unknown."""

    async def main(at: int) -> PodWorld:
        world = PodWorld()
        died = asyncio.Event()
        seen = 0

        def die(rpc: str, target: str) -> Fault | None:
            nonlocal seen
            if rpc in _CHANGING:
                seen += 1
                if seen == at:
                    died.set()
                    return fault
            return None

        world.runtime.on_call = die
        world.start()
        uid = world.create(new_pod("plain"))
        reviver = asyncio.get_running_loop().create_task(revive(world, died))
        await world.wait(lambda: world.is_ready(uid) and (died.is_set() or at > 3))
        world.delete(uid, grace_seconds=5)
        await world.wait(lambda: uid not in world.api.pods and world.runtime.is_empty, seconds=400, every=0.1)
        await reviver
        await asyncio.sleep(5)
        return world

    async def revive(world: PodWorld, died: asyncio.Event) -> None:
        await died.wait()
        await world.crash()
        world.start()

    for at in range(1, _count_changing_calls() + 1):
        world = run_virtually(main(at))
        assert world.runtime.violations == [], f"call {at}"
        assert not world.files.pods
        assert not world.checkpoint.records
