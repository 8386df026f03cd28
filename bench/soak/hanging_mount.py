"""One pod on a file system that stopped answering, among many: it says so, and nobody else notices.

A shell on a lab of one node. `soak_hanging_mount` is used by the tests too. The pods beside it must stay as
they are, the node Ready, new pods start as before; the stuck one names its mount and can be deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

from bench.report import Figure
from bench.soak.crowd import Crowd, running_crowd
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.histories import NodeHistory, watching
from bench.soak.soak_lab import soak_lab
from kubeapi.pod import Pod
from kubeapi.resources import NODES, PODS
from lab.cluster import Cluster
from lab.hanging_mount import HangingMount, hanging_mount
from tests.cluster.scene import Document, Scene, build_pod, build_shell, find_status

NAMED_SECONDS: Final = 30.0
_PODS: Final = 50
_NEWCOMERS: Final = 5
_STUCK: Final = "stuck"


def run(options: SoakOptions) -> Findings:
    """Fifty pods, one of which hangs."""
    with soak_lab("soak-mount") as cluster:
        return asyncio.run(
            soak_hanging_mount(cluster, pods=options.pods or _PODS, newcomers=options.repeats or _NEWCOMERS)
        )


async def soak_hanging_mount(cluster: Cluster, *, pods: int, newcomers: int) -> Findings:
    """Raises AssertionError when a new pod doesn't start, or the stuck one isn't named or doesn't go."""
    nodes = NodeHistory()
    async with (
        running_crowd(cluster, "soak-mount", pods - 1) as crowd,
        watching(crowd.scene.client, NODES, nodes.note),
    ):
        before = [await _time_start(crowd.scene, f"before-{number}") for number in range(newcomers)]
        directory = cluster.nodes[0].paths.data / "hanging"
        directory.mkdir()
        with hanging_mount(directory) as mount:
            await crowd.scene.create(PODS, _build_stuck_pod(directory))
            began = time.monotonic()
            during = [await _time_start(crowd.scene, f"during-{number}") for number in range(newcomers)]
            unnamed = await _find_unnamed(crowd.scene, directory, began)
            named = time.monotonic() - began
            gone, unending = await _delete(crowd.scene, mount)
        directory.rmdir()
        return _build_findings(
            crowd,
            nodes,
            unnamed,
            unending,
            (
                Figure("start of a new pod before", median(before), "s"),
                Figure("start of a new pod beside the stuck one", median(during), "s"),
                Figure("the stuck pod named its mount after", named, "s"),
                Figure("the stuck pod was gone after", gone, "s"),
            ),
        )


def _build_findings(
    crowd: Crowd,
    nodes: NodeHistory,
    unnamed: tuple[str, ...],
    unending: tuple[str, ...],
    figures: tuple[Figure, ...],
) -> Findings:
    history = crowd.history
    return Findings(
        "hanging-mount",
        (
            Check("times that the node wasn't Ready", tuple(nodes.unready)),
            Check("container restarts of other pods", (*history.restarts, *history.gone)),
            Check("readiness flips of other pods", tuple(history.flips)),
            Check("failed requests", crowd.list_failures()),
            Check("places where the stuck pod doesn't name its mount", unnamed),
            Check("deletions that wait and don't say for what", unending),
        ),
        (Figure("pods", len(history.names) + 1, ""), Figure("requests", crowd.asked, ""), *figures),
    )


def _build_stuck_pod(directory: Path) -> Document:
    mounts = [{"name": "data", "mountPath": "/data"}]
    volumes = [{"name": "data", "hostPath": {"path": str(directory), "type": "Directory"}}]
    return build_pod(_STUCK, build_shell(volumeMounts=mounts), volumes=volumes)


async def _time_start(scene: Scene, name: str) -> float:
    """Seconds from the pod's creation until a watch shows it Ready; it goes again at once."""
    began = time.monotonic()
    await scene.start_pod(build_pod(name))
    seconds = time.monotonic() - began
    await scene.delete_pod(name)
    return seconds


async def _find_unnamed(scene: Scene, directory: Path, began: float) -> tuple[str, ...]:
    """Where the mount isn't named thirty seconds after the pod was made: its events, its waiting message."""
    left = max(0.1, NAMED_SECONDS - (time.monotonic() - began))
    missing = []
    try:
        async with asyncio.timeout(left):
            await scene.wait_for_event(_STUCK, "FailedMount", str(directory))
    except (TimeoutError, AssertionError):
        missing.append(f"no event FailedMount names {directory} after {NAMED_SECONDS:g} s")
    left = max(1.0, NAMED_SECONDS - (time.monotonic() - began))
    try:
        await scene.wait_for_pod(_STUCK, _waits_for(str(directory)), left)
    except AssertionError as error:
        missing.append(f"no waiting message names {directory} after {NAMED_SECONDS:g} s: {error}")
    return tuple(missing)


def _waits_for(words: str) -> Callable[[Pod], bool]:
    def is_wanted(pod: Pod) -> bool:
        status = find_status(pod)
        return (
            status is not None and status.state.waiting is not None and words in status.state.waiting.message
        )

    return is_wanted


async def _delete(scene: Scene, mount: HangingMount) -> tuple[float, tuple[str, ...]]:
    """Seconds until it was gone; a deletion that waits for the mount must name it, and end with it."""
    began = time.monotonic()
    await scene.delete_pod(_STUCK)
    unending: tuple[str, ...] = ()
    try:
        await scene.wait_until_gone(PODS, _STUCK, seconds=NAMED_SECONDS)
    except AssertionError:
        pod = await scene.client.get(PODS, _STUCK, scene.namespace)
        if str(mount.path) not in str(pod.status):
            unending = (f"{_STUCK} is still there, and doesn't name {mount.path}: {pod.status}",)
        mount.release()
        await scene.wait_until_gone(PODS, _STUCK)
    return time.monotonic() - began, unending
