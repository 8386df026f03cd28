"""Pod starts and stops beside the bare CRI calls on the same node, one by one and many at once.

A shell on one or two labs of one node: the second has many Services, and is otherwise the same. Pods and
floors, with and without Services, take turns, so that whatever else the machine does hits all alike. The
images are there before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.cri_floor import FloorSample, measure_floor, measure_floor_burst, open_runtime
from bench.options import BenchOptions
from bench.pod_phases import list_phase_samples, read_phases
from bench.pod_timing import PodSample, measure_burst, measure_pod
from bench.report import Ratio, Report, Samples
from bench.service_load import load_services
from cri_proto.runtime.v1.api_pb2_grpc import RuntimeServiceStub
from kubeapi.client import Client
from kubeapi.kubeconfig import read_kubeconfig
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.images import WEB_IMAGE

START_AIM: Final = 1.15
STOP_AIM_SECONDS: Final = 0.3
BURST_AIM: Final = 1.1
SERVICES_AIM: Final = 1.1
_JOURNAL_SECONDS: Final = 2.0  # agents write their journals behind
CONCURRENCIES: Final = (2, 4, 8, 50)


@dataclass(slots=True)
class Findings:
    """What was measured on one node; a burst's floors by their concurrency."""

    pods: list[PodSample] = field(default_factory=list)
    bursts: list[PodSample] = field(default_factory=list)
    floors: list[FloorSample] = field(default_factory=list)
    floor_bursts: dict[int, list[float]] = field(default_factory=dict)
    phases: list[Mapping[str, float]] = field(default_factory=list)
    burst_phases: list[Mapping[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scene:
    """One lab of one node, and what was found there."""

    cluster: Cluster
    client: Client
    runtime: RuntimeServiceStub
    findings: Findings = field(default_factory=Findings)

    @property
    def node(self) -> str:
        return self.cluster.nodes[0].name

    @property
    def floor_cgroup(self) -> str:
        return f"{self.cluster.nodes[0].cgroup_root}/bench-floor"


def run(options: BenchOptions) -> Report:
    """Measures on a node without Services, and on one with as many as are asked for."""
    with _running_labs(options) as clusters:
        return asyncio.run(_measure(clusters, options))


@contextmanager
def _running_labs(options: BenchOptions) -> Iterator[tuple[Cluster, ...]]:
    own = f"bench-{os.getpid()}"
    names = (own, f"{own}-services") if options.services else (own,)
    with ExitStack() as stack:
        settings = (
            ClusterSettings(name=name, proxy_mode="nftables", bound_to_this_process=True) for name in names
        )
        yield tuple(stack.enter_context(running_cluster(each)) for each in settings)


async def _measure(clusters: tuple[Cluster, ...], options: BenchOptions) -> Report:
    async with _open(clusters[0]) as plain:
        if not options.services:
            await _take_turns((plain,), options)
            await _read_journals(plain)
            return build_report(plain.findings, None, options)
        async with _open(clusters[1]) as loaded:
            await load_services(loaded.client, loaded.cluster, options.services)
            await _take_turns((plain, loaded), options)
            await _read_journals(plain, loaded)
            return build_report(plain.findings, loaded.findings, options)


@asynccontextmanager
async def _open(cluster: Cluster) -> AsyncIterator[Scene]:
    config = read_kubeconfig(cluster.kubeconfig)
    with open_runtime(cluster.nodes[0].endpoint) as runtime:
        async with Client(config, user_agent="berth-bench") as client:
            yield Scene(cluster, client, runtime)


async def _take_turns(scenes: tuple[Scene, ...], options: BenchOptions) -> None:
    for scene in scenes:  # warms caches up
        await _measure_floor(scene)
        await measure_pod(scene.client, scene.node)
    for _ in range(options.count):
        for scene in scenes:
            scene.findings.floors.append(await _measure_floor(scene))
            scene.findings.pods.append(await measure_pod(scene.client, scene.node))
    for _ in range(options.rounds if options.burst else 0):
        for scene in scenes:
            await _measure_floor_bursts(scene, options.burst)
            scene.findings.bursts.append(await measure_burst(scene.client, scene.node, options.burst))


async def _read_journals(*scenes: Scene) -> None:
    await asyncio.sleep(_JOURNAL_SECONDS)
    for scene in scenes:
        found, root = scene.findings, scene.cluster.nodes[0].paths.agent_root
        found.phases += (read_phases(root, pod) for sample in found.pods for pod in sample.pods)
        found.burst_phases += (read_phases(root, pod) for sample in found.bursts for pod in sample.pods)


async def _measure_floor(scene: Scene) -> FloorSample:
    return await asyncio.to_thread(measure_floor, scene.runtime, WEB_IMAGE, scene.floor_cgroup)


async def _measure_floor_bursts(scene: Scene, pods: int) -> None:
    for concurrency in CONCURRENCIES:
        seconds = await asyncio.to_thread(
            measure_floor_burst, scene.runtime, WEB_IMAGE, scene.floor_cgroup, pods, concurrency
        )
        scene.findings.floor_bursts.setdefault(concurrency, []).append(seconds)


# --- the report ---------------------------------------------------------------------------------------------


def build_report(plain: Findings, loaded: Findings | None, options: BenchOptions) -> Report:
    """Ratios to the floor on the plain node; and of the loaded node to the plain one."""
    samples, ratios = list(_list_samples(plain, "")), list(_list_floor_ratios(plain))
    if loaded is not None:
        samples += _list_samples(loaded, f", {options.services:,} Services")
        ratios += _list_service_ratios(plain, loaded, options.services)
    return Report("podstart", samples=tuple(samples), ratios=tuple(ratios))


def _list_samples(found: Findings, where: str) -> Iterator[Samples]:
    yield Samples(f"start, floor: three CRI calls{where}", tuple(f.start_seconds for f in found.floors))
    yield Samples(f"start: created → Ready watched{where}", tuple(p.start_seconds for p in found.pods))
    yield from list_phase_samples(found.phases, where)
    yield Samples(f"stop, floor: three CRI calls{where}", tuple(f.stop_seconds for f in found.floors))
    yield Samples(f"stop: delete called → gone{where}", tuple(p.stop_seconds for p in found.pods))
    for concurrency, seconds in sorted(found.floor_bursts.items()):
        yield Samples(f"burst, floor, {concurrency} at a time{where}", tuple(seconds))
    if found.bursts:
        yield Samples(f"burst: all Ready watched{where}", tuple(b.start_seconds for b in found.bursts))
        yield from list_phase_samples(found.burst_phases, f", burst{where}")
        yield Samples(f"burst: all gone{where}", tuple(b.stop_seconds for b in found.bursts))


def _list_floor_ratios(found: Findings) -> Iterator[Ratio]:
    floor = median(sample.start_seconds for sample in found.floors)
    yield Ratio("start p50 over floor", _start(found) / floor, START_AIM)
    floor = median(sample.stop_seconds for sample in found.floors)
    yield Ratio("stop p50 beyond floor, seconds", _stop(found) - floor, STOP_AIM_SECONDS)
    if found.bursts:
        best = min(median(seconds) for seconds in found.floor_bursts.values())
        yield Ratio("burst p50 over best floor", _burst(found) / best, BURST_AIM)


def _list_service_ratios(plain: Findings, loaded: Findings, services: int) -> Iterator[Ratio]:
    where = f"with {services:,} Services over without"
    yield Ratio(f"start p50 {where}", _start(loaded) / _start(plain), SERVICES_AIM)
    yield Ratio(f"stop p50 {where}", _stop(loaded) / _stop(plain), SERVICES_AIM)
    if plain.bursts:
        yield Ratio(f"burst p50 {where}", _burst(loaded) / _burst(plain), SERVICES_AIM)


def _start(found: Findings) -> float:
    return median(sample.start_seconds for sample in found.pods)


def _stop(found: Findings) -> float:
    return median(sample.stop_seconds for sample in found.pods)


def _burst(found: Findings) -> float:
    return median(sample.start_seconds for sample in found.bursts)
