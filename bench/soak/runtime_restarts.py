"""A containerd that dies by SIGKILL and starts again under many pods: all converge, nothing is there twice.

A shell on a lab of one node; `find_duplicates` is pure. `soak_runtime` is used by the tests too. While
containerd is dead each time, a pod is deleted and another is created, and the agent must catch up with both.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final

from agent.runtime.client import RuntimeClient
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeSandbox
from bench.report import Figure
from bench.soak.crowd import START_SECONDS, Crowd, running_crowd
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.soak_lab import soak_in_lab
from kubeapi.resources import PODS
from lab.cluster import Cluster, NodePart
from tests.cluster.scene import build_pod, is_ready

_PODS: Final = 30
_RESTARTS: Final = 20


def run(options: SoakOptions) -> Findings:
    """Thirty pods, twenty restarts."""
    pods, restarts = options.pods or _PODS, options.repeats or _RESTARTS
    return soak_in_lab("soak-runtime", partial(soak_runtime, pods=pods, restarts=restarts))


async def soak_runtime(cluster: Cluster, *, pods: int, restarts: int) -> Findings:
    """Raises LabError when containerd doesn't come up again, AssertionError when a pod doesn't converge."""
    duplicates: list[str] = []
    caught_up: list[float] = []
    async with running_crowd(cluster, "soak-runtime", pods) as crowd:
        await crowd.scene.start_pod(build_pod("passing-0"))
        for number in range(restarts):
            caught_up.append(await _restart(cluster, crowd, number))
            duplicates += await _read_duplicates(cluster)
        history = crowd.history
        return Findings(
            "runtime-restarts",
            (
                Check("containers that were restarted or replaced", (*history.restarts, *history.gone)),
                Check("containers or sandboxes that are there twice", tuple(duplicates)),
                Check("pods that aren't Ready in the end", history.list_unready()),
                Check("readiness flips", tuple(history.flips)),
                Check("failed requests", crowd.list_failures()),
            ),
            (
                Figure("pods", len(history.names), ""),
                Figure("restarts of containerd", restarts, ""),
                Figure("requests", crowd.asked, ""),
                Figure("longest until what happened meanwhile was done", max(caught_up), "s"),
            ),
        )


async def _restart(cluster: Cluster, crowd: Crowd, number: int) -> float:
    """Seconds from containerd's return until a new pod was Ready and a deleted one gone."""
    scene, node = crowd.scene, cluster.nodes[0].name
    leaving, coming = f"passing-{number}", f"passing-{number + 1}"
    await asyncio.to_thread(cluster.kill_node, node, NodePart.CONTAINERD)
    await scene.delete_pod(leaving)
    await scene.create(PODS, build_pod(coming))
    await crowd.wait_for_requests(5)
    await asyncio.to_thread(cluster.restart_node, node, NodePart.CONTAINERD)
    began = time.monotonic()
    await scene.wait_for_pod(coming, is_ready, START_SECONDS)
    await scene.wait_until_gone(PODS, leaving, seconds=START_SECONDS)
    return time.monotonic() - began


async def _read_duplicates(cluster: Cluster) -> tuple[str, ...]:
    node = cluster.nodes[0]
    async with RuntimeClient(node.endpoint, node_name=node.name) as client:
        return find_duplicates(await client.list_pod_sandboxes(), await client.list_containers())


def find_duplicates(
    sandboxes: Iterable[RuntimeSandbox], containers: Iterable[RuntimeContainer]
) -> tuple[str, ...]:
    """Pods with more than one ready sandbox, and container names that run more than once in a pod."""
    ready = Counter(
        f"{each.pod_namespace}/{each.pod_name} {each.pod_uid}" for each in sandboxes if each.ready
    )
    running = Counter(
        f"{each.name} of {each.pod_uid}" for each in containers if each.state is ContainerState.RUNNING
    )
    return (
        *(f"{count} ready sandboxes of {pod}" for pod, count in sorted(ready.items()) if count > 1),
        *(f"{count} running containers {name}" for name, count in sorted(running.items()) if count > 1),
    )
