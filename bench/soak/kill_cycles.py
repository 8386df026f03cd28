"""Pods that come, change and go while the agent is killed at each action in turn: nothing is left of them.

A shell on a lab of one node, whose agent is `bench.soak.mortal_agent`; `list_points` is pure. A first pod
that nobody disturbs shows which actions there are; with each later one the agent dies before, in the middle
of or after one of them, several pods at a time. `soak_kills` is used by the tests too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agent.runtime.client import RuntimeClient
from bench.report import Figure
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.mortal_agent import DIE_AFTER, DIE_AT, DIE_WHEN, Moment, Note, read_notes
from bench.soak.soak_lab import soak_in_lab
from bench.soak.victim import (
    MEMORY,
    RESIZED,
    STARTS,
    TWICE,
    build_resources,
    build_victim,
    count_starts,
    has_memory,
)
from kubeapi.client import PatchType
from kubeapi.pod import Pod
from kubeapi.resources import CONFIG_MAPS, PODS, SECRETS
from lab.agents import PROGRAM, build_agent_argv
from lab.cluster import Cluster
from lab.control_plane import build_berth_argv, build_berth_environment
from lab.errors import LabError
from lab.node_traces import Traces, find_new_traces, read_node_traces
from lab.processes import Process, Program, is_running, reap, start_program
from lab.runtime_node import RuntimeNode
from tests.cluster.scene import Scene, is_ready, new_scene

_CYCLES: Final = 200
_AT_A_TIME: Final = 4
_KEPT_ATTEMPTS: Final = 2  # of each container, while its pod lives
_STEP_SECONDS: Final = 90.0
_CLEANUP_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 30.0
_MODULE: Final = "bench.soak.mortal_agent"


@dataclass(frozen=True, slots=True)
class Point:
    """Where the agent dies; `after_seconds` into the action for a death in the middle."""

    action: str
    moment: Moment
    after_seconds: float = 0.0

    @property
    def annotations(self) -> Mapping[str, str]:
        return {DIE_AT: self.action, DIE_WHEN: self.moment.value, DIE_AFTER: f"{self.after_seconds:.4f}"}


@dataclass(frozen=True, slots=True)
class Cycle:
    """What became of one pod: where its agent died, and how often each container started."""

    name: str
    died: tuple[str, ...]
    starts: Mapping[str, int]


def run(options: SoakOptions) -> Findings:
    """Two hundred pods, four at a time."""
    return soak_in_lab("soak-kill", partial(soak_kills, cycles=options.repeats or _CYCLES))


async def soak_kills(cluster: Cluster, *, cycles: int) -> Findings:
    """Raises AssertionError when a pod doesn't become Ready, change, or go."""
    began = time.monotonic()
    node, directory = cluster.nodes[0], cluster.nodes[0].paths.data / "kills"
    directory.mkdir()
    async with (
        _mortal_agent(cluster, directory),
        RuntimeClient(node.endpoint, node_name=node.name) as runtime,
        new_scene(cluster, "soak-kill") as scene,
    ):
        await scene.create(SECRETS, {"metadata": {"name": "keys"}, "stringData": {"key": "secret"}})
        stage = _Stage(scene, directory, runtime)
        uid = (await stage.live("undisturbed", {})).uid
        points = list_points(read_notes(directory, uid))
        before = await asyncio.to_thread(read_node_traces, node)
        done = await stage.live_all(_repeat(points, cycles))
        left = await _read_left(node, before)
    return _build_findings(points, done, left, time.monotonic() - began)


def list_points(notes: Sequence[Note]) -> tuple[Point, ...]:
    """Each action of a pod's life before, in the middle and after it; each once before any twice."""
    longest: dict[str, float] = {}
    for note in notes:
        longest[note.action] = max(note.seconds, longest.get(note.action, 0.0))
    moments = tuple(Moment)
    return tuple(
        Point(action, moments[(index + turn) % len(moments)], seconds / 2)
        for turn in range(len(moments))
        for index, (action, seconds) in enumerate(longest.items())
    )


def _build_findings(
    points: Sequence[Point], done: Sequence[Cycle], left: Sequence[str], seconds: float
) -> Findings:
    planned = points[: len(done)]
    unreached = (
        f"{cycle.name}: {point.action}"
        for point, cycle in zip(_repeat(points, len(done)), done, strict=True)
        if not cycle.died
    )
    doubled = (
        f"{cycle.name}, killed {' and '.join(cycle.died)}: {name.removesuffix(TWICE)}"
        for cycle in done
        for name in cycle.starts
        if name.endswith(TWICE)
    )
    lost = (
        f"{cycle.name}, killed {' and '.join(cycle.died)}: {dict(cycle.starts)}"
        for cycle in done
        if not cycle.starts.keys() >= STARTS.keys()
    )
    repeated = sum(
        max(0, cycle.starts.get(name, 0) - count) for cycle in done for name, count in STARTS.items()
    )
    return Findings(
        "kill-cycles",
        (
            Check("things left on the node", tuple(left)),
            Check("containers that ran twice at a time", tuple(doubled)),
            Check("pods with a container that never started", tuple(lost)),
            Check("deaths that weren't reached", tuple(unreached)),
        ),
        (
            Figure("pods", len(done), ""),
            Figure("deaths of the agent", sum(len(cycle.died) for cycle in done), ""),
            Figure("starts that a death cut short and that were done again", repeated, ""),
            Figure("actions died at", len({point.action for point in planned}), ""),
            Figure("moments of actions died at", len(planned), ""),
            Figure("time", seconds, "s"),
        ),
    )


def _repeat(points: Sequence[Point], count: int) -> tuple[Point, ...]:
    return tuple(points[number % len(points)] for number in range(count))


async def _read_left(node: RuntimeNode, before: Traces) -> tuple[str, ...]:
    """What is there and wasn't, once that doesn't get less any more."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while left := find_new_traces(before, await asyncio.to_thread(read_node_traces, node)):
        if time.monotonic() > deadline:
            break
    return tuple(f"{what}: {item}" for what, items in left.items() for item in items)


# --- pods ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stage:
    scene: Scene
    directory: Path
    runtime: RuntimeClient

    async def live_all(self, points: Sequence[Point]) -> tuple[Cycle, ...]:
        """One pod for each point, a few at a time; in the points' order."""
        places = asyncio.Semaphore(_AT_A_TIME)

        async def live_in_turn(number: int, point: Point) -> Cycle:
            async with places:
                return await self._live_at(f"cycle-{number}", point)

        tasks = [asyncio.create_task(live_in_turn(number, point)) for number, point in enumerate(points)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return tuple(
            [await self._live_again(task.result(), point) for task, point in zip(tasks, points, strict=True)]
        )

    async def _live_again(self, cycle: Cycle, point: Point) -> Cycle:
        """Another pod's death may have come in the very action; then a pod that is alone gets there."""
        return cycle if cycle.died else await self._live_at(f"{cycle.name}-again", point)

    async def _live_at(self, name: str, point: Point) -> Cycle:
        pod = await self.live(name, point.annotations)
        notes = read_notes(self.directory, pod.uid)
        died = tuple(f"{note.died} {note.action}" for note in notes if note.died)
        return Cycle(name, died, count_starts(self._host_file(name)))

    async def live(self, name: str, annotations: Mapping[str, str]) -> Pod:
        """A pod's whole life: Ready, another configuration, another size, deleted, gone."""
        scene = self.scene
        await scene.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"color": "red"}})
        pod = await scene.create(PODS, build_victim(name, annotations, self._host_file(name).parent))
        await scene.wait_for_pod(name, is_ready, _STEP_SECONDS)
        patch = {"data": {"color": "blue"}}
        await scene.client.patch(CONFIG_MAPS, patch, name, scene.namespace, patch_type=PatchType.MERGE)
        await self._wait_for_color(pod, "blue")
        for memory in MEMORY[1:]:
            await self._resize(name, memory)
            await scene.wait_for_pod(name, has_memory(memory), _STEP_SECONDS)
        await self._wait_for_cleanup(pod)
        await scene.delete_pod(name)
        await scene.wait_until_gone(PODS, name, seconds=_STEP_SECONDS)
        await scene.client.delete(CONFIG_MAPS, name, scene.namespace)
        return pod

    def _host_file(self, name: str) -> Path:
        return self.directory / "host" / name

    async def _resize(self, name: str, memory: str) -> None:
        resources = build_resources(memory)
        patch = {"spec": {"containers": [{"name": each, "resources": resources} for each in RESIZED]}}
        await self.scene.client.patch(
            PODS, patch, name, self.scene.namespace, patch_type=PatchType.STRATEGIC, subresource="resize"
        )

    async def _wait_for_color(self, pod: Pod, color: str) -> None:
        root = self.scene.cluster.nodes[0].paths.agent_root
        deadline = time.monotonic() + _STEP_SECONDS
        while color not in {path.read_text() for path in root.glob(f"pods/{pod.uid}/volumes/*/config/color")}:
            assert time.monotonic() < deadline, f"{pod.metadata.name} doesn't get its new configuration"
            await asyncio.sleep(0.05)  # the file is written by another process

    async def _wait_for_cleanup(self, pod: Pod) -> None:
        """Until no container has more attempts than the newest two, but not for long.

        One whose start was cut short may be removable only with its sandbox (`agent.runtime.cut_starts`).
        """
        deadline = time.monotonic() + _CLEANUP_SECONDS
        while time.monotonic() < deadline:
            attempts = Counter(each.name for each in await self.runtime.list_containers(pod.uid))
            if max(attempts.values(), default=0) <= _KEPT_ATTEMPTS:
                return
            await asyncio.sleep(0.1)  # containers that go are no event of any runtime's


# --- the agent that dies ------------------------------------------------------------------------------------


@asynccontextmanager
async def _mortal_agent(cluster: Cluster, directory: Path) -> AsyncIterator[None]:
    """In the place of the first node's own agent, which is back after the block."""
    node = cluster.nodes[0]
    await asyncio.to_thread(cluster.kill_node, node.name)
    process = start_program(_build_program(cluster, node, directory))
    try:
        yield
    finally:
        await asyncio.to_thread(_end, process)
        await asyncio.to_thread(cluster.restart_node, node.name)


def _build_program(cluster: Cluster, node: RuntimeNode, directory: Path) -> Program:
    flags = build_agent_argv(node, cluster.state.proxy_mode)[len(build_berth_argv("agent")) :]
    environment = dict(node.environment) | build_berth_environment(cluster.names)
    return node.program(PROGRAM, (sys.executable, "-P", "-m", _MODULE, str(directory), *flags), environment)


def _end(process: Process) -> None:
    """Returns once it is gone, and the agent with it: the next one needs its lock."""
    if is_running(process):
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STEP_SECONDS
    while is_running(process):
        if time.monotonic() > deadline:
            raise LabError(f"the mortal agent (pid {process.pid}) doesn't end")
        time.sleep(0.02)
    reap(process.pid)
