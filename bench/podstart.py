"""Pod start: create returned → Ready seen by a watch, beside the bare CRI calls on the same node.

A shell on a lab of one node. Pods and floor take turns, so that whatever else the machine does hits both
alike. The image is there before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import uuid4

from bench.cri_floor import FloorSample, measure_floor, open_runtime
from bench.report import Ratio, Report, Samples
from kubeapi.client import Client
from kubeapi.errors import Unreachable
from kubeapi.kubeconfig import read_kubeconfig
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from kubeapi.watch_stream import WatchEvent, WatchEventType
from lab.cluster import Cluster, ClusterSettings, running_cluster
from lab.images import WEB_IMAGE

START_AIM: Final = 1.3
NAMESPACE: Final = "default"
_DEADLINE_SECONDS: Final = 60


def run(count: int) -> Report:
    """Measures `count` pods and `count` floors, one after the other."""
    with running_cluster(ClusterSettings(name="bench-podstart", bound_to_this_process=True)) as cluster:
        return asyncio.run(_measure(cluster, count))


async def _measure(cluster: Cluster, count: int) -> Report:
    node = cluster.nodes[0]
    starts: list[float] = []
    stops: list[float] = []
    floors: list[FloorSample] = []
    async with Client(read_kubeconfig(cluster.kubeconfig), user_agent="berth-bench") as client:
        with open_runtime(node.endpoint) as runtime:
            for sample in range(count + 1):
                floor = await asyncio.to_thread(
                    measure_floor, runtime, WEB_IMAGE, f"{node.cgroup_root}/bench-floor"
                )
                start, stop = await _measure_pod(client, node.name)
                if sample:  # the first of each warms caches up
                    floors.append(floor)
                    starts.append(start)
                    stops.append(stop)
    return build_report(floors, starts, stops)


def build_report(floors: list[FloorSample], starts: list[float], stops: list[float]) -> Report:
    floor_start = Samples("floor: three CRI calls", tuple(floor.start_seconds for floor in floors))
    pod_start = Samples("pod: create returned → Ready watched", tuple(starts))
    return Report(
        "podstart",
        samples=(
            floor_start,
            pod_start,
            Samples("floor: stop and remove", tuple(floor.stop_seconds for floor in floors)),
            Samples("pod: delete called → object gone", tuple(stops)),
        ),
        ratios=(
            Ratio("start p50 over floor", pod_start.percentile(50) / floor_start.percentile(50), START_AIM),
        ),
    )


async def _measure_pod(client: Client, node_name: str) -> tuple[float, float]:
    """Seconds from the create's answer to Ready, and from the delete's call to the object being gone."""
    name = f"bench-{uuid4().hex[:8]}"
    created = await client.create(PODS, _build_pod(name, node_name), NAMESPACE)
    started = time.perf_counter()
    version = created.metadata.resource_version
    async with asyncio.timeout(_DEADLINE_SECONDS):
        version = await _watch_until_ready(client, name, version)
        ready = time.perf_counter()
        await client.delete(PODS, name, NAMESPACE)
        await _watch_until_gone(client, name, version)
    return ready - started, time.perf_counter() - ready


def _build_pod(name: str, node_name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node_name,
            "containers": [{"name": "main", "image": WEB_IMAGE}],
        },
    }


def is_ready(pod: Pod) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions
    )


async def _watch_until_ready(client: Client, name: str, version: str) -> str:
    """The resource version at which the pod was Ready."""
    async with aclosing(_watch(client, name, version)) as events:
        async for event in events:
            if is_ready(event.object):
                return event.object.metadata.resource_version
    raise Unreachable(f"the watch ended before pod {name} was Ready")


async def _watch_until_gone(client: Client, name: str, version: str) -> None:
    async with aclosing(_watch(client, name, version)) as events:
        async for event in events:
            if event.type is WatchEventType.DELETED:
                return
    raise Unreachable(f"the watch ended before pod {name} was gone")


def _watch(client: Client, name: str, version: str) -> AsyncGenerator[WatchEvent[Pod], None]:
    return client.watch(PODS, NAMESPACE, resource_version=version, field_selector=f"metadata.name={name}")
