"""Times pods as a user sees them: by creating, deleting and watching them through the API.

A shell on `kubeapi.client`. Called by `bench.podstart`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from kubeapi.client import Client
from kubeapi.errors import Unreachable
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from kubeapi.watch_stream import WatchEvent, WatchEventType
from lab.images import WEB_IMAGE

NAMESPACE: Final = "default"
_LABEL: Final = "bench"
_DEADLINE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class PodTimes:
    """When a pod's create was answered, and when it was seen Ready; in seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    created_at: float
    ready_at: float


@dataclass(frozen=True, slots=True)
class PodSample:
    """From the create's answer to Ready, and from the delete's call to the object being gone."""

    start_seconds: float
    stop_seconds: float
    pods: tuple[PodTimes, ...] = ()


async def measure_pod(client: Client, node_name: str) -> PodSample:
    """Starts and stops one pod."""
    name = f"bench-{uuid4().hex[:8]}"
    created = await client.create(PODS, _build_pod(name, node_name, name), NAMESPACE)
    began, created_at = time.perf_counter(), {name: time.time()}
    version = created.metadata.resource_version
    async with asyncio.timeout(_DEADLINE_SECONDS):
        async with aclosing(_watch(client, name, version)) as events:
            pods = await _wait_until_ready(events, created_at, 1)
            ready = time.perf_counter()
            await client.delete(PODS, name, NAMESPACE)
            await _wait_until_gone(events, 1)
    return PodSample(ready - began, time.perf_counter() - ready, pods)


async def measure_burst(client: Client, node_name: str, pods: int) -> PodSample:
    """Creates that many pods at once, from the first create's call until all are Ready; and deletes them."""
    burst = f"burst-{uuid4().hex[:8]}"
    names = [f"{burst}-{number}" for number in range(pods)]
    version = (await client.list(PODS, NAMESPACE, label_selector=f"{_LABEL}={burst}")).metadata
    created_at: dict[str, float] = {}

    async def create(name: str) -> None:
        await client.create(PODS, _build_pod(name, node_name, burst), NAMESPACE)
        created_at[name] = time.time()

    async with asyncio.timeout(_DEADLINE_SECONDS):
        async with aclosing(_watch(client, burst, version.resource_version)) as events:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(create(name))
                ready_pods = await _wait_until_ready(events, created_at, pods)
            ready = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(client.delete(PODS, name, NAMESPACE))
                await _wait_until_gone(events, pods)
    return PodSample(ready - began, time.perf_counter() - ready, ready_pods)


def _build_pod(name: str, node_name: str, label: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {_LABEL: label}},
        "spec": {
            "nodeName": node_name,
            "containers": [{"name": "main", "image": WEB_IMAGE}],
        },
    }


def is_ready(pod: Pod) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions
    )


async def _wait_until_ready(
    events: AsyncGenerator[WatchEvent[Pod], None], created_at: Mapping[str, float], pods: int
) -> tuple[PodTimes, ...]:
    """Until that many pods were seen Ready."""
    ready: dict[str, PodTimes] = {}
    async for event in events:
        meta = event.object.metadata
        if is_ready(event.object) and meta.name not in ready:
            now = time.time()
            created = created_at.get(meta.name, now)
            ready[meta.name] = PodTimes(meta.namespace, meta.name, meta.uid, created, now)
            if len(ready) == pods:
                return tuple(ready.values())
    raise Unreachable(f"the watch ended when {len(ready)} of {pods} pods were Ready")


async def _wait_until_gone(events: AsyncGenerator[WatchEvent[Pod], None], pods: int) -> None:
    gone = 0
    async for event in events:
        gone += event.type is WatchEventType.DELETED
        if gone == pods:
            return
    raise Unreachable(f"the watch ended when {gone} of {pods} pods were gone")


def _watch(client: Client, label: str, version: str) -> AsyncGenerator[WatchEvent[Pod], None]:
    selector = f"{_LABEL}={label}"
    return client.watch(PODS, NAMESPACE, resource_version=version, label_selector=selector)
