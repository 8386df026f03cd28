"""One seeded schedule of pods and trouble: what happens, and what must hold throughout and in the end.

Used by `test_pod_schedules`. Everything follows from the seed: the pods, how the runtime treats calls whose
caller has gone, which calls and steps fail, hang or take long, what the watch loses, doubles, delays and
swaps, when containers and sandboxes die, and when the agent does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agent.pods.goal import SOURCE_ANNOTATION
from kubeapi.pod import (
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodStatus,
    PodUID,
    Probe,
    SleepAction,
)
from tests import builders
from tests.fakes.fake_runtime import Abandoned, Fault, Program
from tests.simulation.agent.pod_fakes import Trouble
from tests.simulation.agent.pod_world import PodWorld

CHANGING = (
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "UpdateContainerResources",
)
PROGRAMS = {
    "first": Program(seconds=1),
    "crasher": Program(seconds=2, exit_code=1),
    "worker": Program(seconds=3),
    "loser": Program(seconds=3, exit_code=3),
    "stubborn": Program(term_seconds=None),
    "slow": Program(term_seconds=4),
}
_HEALED_SECONDS = 1500.0
# What a runtime keeps for a caller that has gone shows, if ever, within a minute.
_SETTLE_SECONDS = {Abandoned.ROLLS_BACK: 10.0, Abandoned.GOES_ON: 10.0, Abandoned.KEEPS: 75.0}
_LOOK_SECONDS = 2.0
_LATE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A pod worth having; `ends_as`: Ready, a phase, or empty where it never settles."""

    name: str
    ends_as: str
    build: Callable[[str], Pod]
    static: bool = False


def new_pod(name: str, **spec: object) -> Pod:
    return msgspec.structs.replace(builders.pod(name, spec=spec), status=PodStatus())


def _exec(word: str) -> LifecycleHandler:
    return LifecycleHandler(exec=ExecAction(command=(word,)))


def _build_hooked(name: str) -> Pod:
    before, after = _exec("bye"), _exec("hello")
    return new_pod(
        name, containers=(builders.container(lifecycle=Lifecycle(post_start=after, pre_stop=before)),)
    )


def _build_sleeper(name: str) -> Pod:
    nap = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=3)))
    return new_pod(name, containers=(builders.container("slow", lifecycle=nap),))


def _build_probed(name: str) -> Pod:
    probe = Probe(exec=ExecAction(command=("true",)))
    return new_pod(name, containers=(builders.container(readiness_probe=probe, liveness_probe=probe),))


def _build_inits(name: str) -> Pod:
    sidecar = builders.container("proxy", restart_policy="Always")
    return new_pod(name, init_containers=(builders.container("first"), sidecar))


def _build_debugged(name: str) -> Pod:
    debugger = builders.container("debugger")
    return new_pod(name, ephemeral_containers=(debugger,))


def _build_static(name: str) -> Pod:
    pod = new_pod(name)
    metadata = msgspec.structs.replace(pod.metadata, annotations={SOURCE_ANNOTATION: "file"})
    return msgspec.structs.replace(pod, metadata=metadata)


def _build_with(*names: str, **spec: object) -> Callable[[str], Pod]:
    containers = tuple(builders.container(name) for name in names)
    return lambda pod_name: new_pod(pod_name, containers=containers, **spec)


KINDS = (
    Kind("plain", "Ready", new_pod),
    Kind("two", "Ready", _build_with("left", "right")),
    Kind("inits", "Ready", _build_inits),
    Kind("crashing", "", _build_with("crasher")),
    Kind("job", "Succeeded", _build_with("worker", restart_policy="OnFailure")),
    Kind("failing", "Failed", _build_with("loser", restart_policy="Never")),
    Kind("hooked", "Ready", _build_hooked),
    Kind("sleeper", "Ready", _build_sleeper),
    Kind("stubborn", "Ready", _build_with("stubborn")),
    Kind("slow", "Ready", _build_with("slow", "right")),
    Kind("probed", "Ready", _build_probed),
    Kind("debugged", "Ready", _build_debugged),
    Kind("static", "Ready", _build_static, static=True),
)


class Mischief:
    """Faults with a seed, while `on`."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.on = True
        self.rate = dice.choice((0.03, 0.1, 0.25))

    def meet_call(self, rpc: str, target: str) -> Fault | None:
        if not self.on or self.dice.random() >= self.rate:
            return None
        if rpc in CHANGING:
            return self.dice.choice(tuple(Fault))
        if rpc == "ExecSync":
            return self.dice.choice((Fault.REFUSED, Fault.SLOW, Fault.HANG))
        return self.dice.choice((Fault.UNAVAILABLE, Fault.UNAVAILABLE, Fault.HANG))

    def meet_step(self, step: str) -> Trouble | None:
        if not self.on or self.dice.random() >= self.rate:
            return None
        troubles = [Trouble.FAILS_BEFORE, Trouble.FAILS_AFTER, Trouble.SLOW]
        if step != "EnsureImage":  # a pull may take an hour before it is given up
            troubles.append(Trouble.HANGS)
        return self.dice.choice(troubles)

    def choose_delays(self) -> tuple[float, ...]:
        """When an event of the watch arrives: not at all, once, twice; late ones swap places."""
        if not self.on or self.dice.random() < 0.7:
            return (0.0,)
        return tuple(self.dice.uniform(0.01, _LATE_SECONDS) for _ in range(self.dice.randrange(3)))


@dataclass(slots=True)
class Schedule:
    seed: int
    menu: tuple[Kind, ...] = KINDS
    dice: random.Random = field(init=False)
    world: PodWorld = field(init=False)
    mischief: Mischief = field(init=False)
    kinds: dict[PodUID, Kind] = field(default_factory=dict)
    disturbed: set[PodUID] = field(default_factory=set)
    deleted: set[PodUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.world = PodWorld(self.seed)
        self.mischief = Mischief(self.dice)
        runtime = self.world.runtime
        runtime.abandoned = self.dice.choice(tuple(Abandoned))
        runtime.slow_seconds = lambda: self.dice.uniform(1, 400)
        runtime.rollback_seconds = lambda: self.dice.choice((0.0, 0.5, 20.0))
        runtime.creates_in_stopped = self.dice.random() < 0.5
        runtime.on_call = self.mischief.meet_call
        runtime.programs |= PROGRAMS
        runtime.exec_seconds = 0.2
        self.world.steps.on_step = self.mischief.meet_step
        self.world.watch_delays = self.mischief.choose_delays

    # --- what happens ---------------------------------------------------------------------------------------

    async def play(self) -> None:
        """The whole of it; raises AssertionError where something doesn't hold."""
        self.world.start()
        for kind in self.dice.sample(self.menu, self.dice.randrange(2, 6)):
            self._create(kind, kind.name, "")
            await asyncio.sleep(self.dice.choice((0.0, 0.3, 4.0)))
        for _ in range(self.dice.randrange(1, 9)):
            await asyncio.sleep(self.dice.choice((0.01, 0.1, 1.0, 10.0, 40.0)) * self.dice.random())
            await self._make_trouble()
            self.check()
        await self._heal()
        await self._wait(self._has_converged)
        self.check()
        self._check_readiness()
        self._delete_all()
        await self._wait(self._is_over)
        await asyncio.sleep(_SETTLE_SECONDS[self.world.runtime.abandoned])
        await self._wait(self._is_over)
        assert self.world.count_statuses() == 0, "the status writer still remembers a pod"
        await self.world.crash()
        self.check()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, f"tasks go on after the agent's end: {tasks}"
        leaks = self.world.find_leaks()
        assert not leaks, f"something is left in {leaks}"

    def _create(self, kind: Kind, name: str, uid: str) -> None:
        pod = kind.build(name)
        if uid:
            metadata = msgspec.structs.replace(pod.metadata, uid=PodUID(uid))
            pod = msgspec.structs.replace(pod, metadata=metadata)
        self.kinds[pod.uid] = kind
        if kind.static:
            self.world.set_static(pod)
        else:
            self.world.create(pod)

    async def _make_trouble(self) -> None:
        world, dice = self.world, self.dice
        match dice.randrange(11):
            case 0 | 1:
                await world.crash()
                await asyncio.sleep(dice.choice((0.0, 1.0, 30.0)))
                world.start()
            case 2:
                world.api.reachable = not world.api.reachable
                if world.api.reachable:
                    world.sync()
            case 3:
                world.sync()
            case 4:
                for container in world.runtime.live_containers()[: dice.randrange(3)]:
                    self.disturbed.add(container.pod_uid)
                    world.runtime.kill_container(container.id)
            case 5:
                for sandbox_id in world.runtime.sandbox_ids()[: dice.randrange(3)]:
                    self.disturbed |= self.kinds.keys()
                    world.runtime.kill_sandbox(sandbox_id)
            case 6:
                await world.crash()
                self.disturbed |= self.kinds.keys()
                world.runtime.reboot()
                world.start()
            case 7 | 8 | 9:
                self._delete_one()
            case _:
                self._flap_static()

    def _delete_one(self) -> None:
        uids = sorted(self.world.api.pods)
        if not uids:
            return
        uid = self.dice.choice(uids)
        grace = self.dice.choice((0, 1, 5, 30, 30))
        self.deleted.add(uid)
        if grace == 0:
            self.world.delete_by_force(uid)
        else:
            self.world.delete(uid, grace)
        if self.dice.random() < 0.4:
            kind = self.kinds[uid]
            self._create(kind, kind.name, f"uid-{kind.name}-{len(self.kinds)}")

    def _flap_static(self) -> None:
        for uid in sorted(self.world.statics):
            pod = self.world.statics[uid]
            self.disturbed.add(uid)
            self.world.remove_static(uid)
            if self.dice.random() < 0.7:
                loop = asyncio.get_running_loop()
                loop.call_later(self.dice.choice((0.01, 0.2, 3.0)), self.world.set_static, pod)

    async def _heal(self) -> None:
        """The faults stop; what the watch still holds back arrives before the list that makes it good."""
        self.mischief.on = False
        self.world.api.reachable = True
        if not self.world.running:
            self.world.start()
        await asyncio.sleep(_LATE_SECONDS)
        self.world.sync()

    def _delete_all(self) -> None:
        for uid in tuple(self.world.api.pods):
            self.world.delete(uid, 5)
        for uid in tuple(self.world.statics):
            self.world.remove_static(uid)

    # --- what must hold -------------------------------------------------------------------------------------

    async def _wait(self, condition: Callable[[], bool]) -> None:
        await self.world.wait(condition, seconds=_HEALED_SECONDS, every=_LOOK_SECONDS)

    def check(self) -> None:
        """At every moment."""
        violations = self.world.find_violations()
        assert not violations, f"{violations}"

    def _has_converged(self) -> bool:
        return all(map(self._is_as_wanted, (*self.world.api.pods, *self.world.statics)))

    def _is_as_wanted(self, uid: PodUID) -> bool:
        pod = self.world.api.pods.get(uid)
        if pod is not None and pod.metadata.deletion_timestamp is not None:
            return False
        kind = self.kinds[uid]
        if kind.ends_as in ("Ready", ""):
            return kind.ends_as == "" or self.world.shows_ready(uid)
        return self.world.api.status(uid).phase == kind.ends_as

    def _check_readiness(self) -> None:
        """No fault of the agent, the API or a call makes a pod that was ready unready."""
        for uid, kind in self.kinds.items():
            if kind.ends_as == "Ready" and uid not in self.disturbed | self.deleted:
                readiness = self.world.list_readiness(uid)
                assert readiness == sorted(readiness), f"the readiness of {uid} flips: {readiness}"

    def _is_over(self) -> bool:
        world = self.world
        lanes = world.lanes is not None and world.lanes.pods()
        return not (world.api.pods or lanes or world.runtime.busy) and world.runtime.is_empty
