"""One pod on a file system that stopped answering, among many: it says so, and nobody else notices.

A shell on a lab of one node. `soak_hanging_mount` is used by the tests too. The stuck pod names its mount,
and can be deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bench.report import Figure
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.soak_lab import soak_in_lab
from bench.soak.stuck_pod import NAMED_SECONDS, STUCK, find_silence, surroundings
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.cluster import Cluster
from lab.hanging_mount import HangingMount, hanging_mount
from tests.cluster.scene import Document, Scene, build_pod, build_shell, find_status

_PODS: Final = 50
_NEWCOMERS: Final = 5


def run(options: SoakOptions) -> Findings:
    """Fifty pods, one of which hangs."""
    pods, newcomers = options.pods or _PODS, options.repeats or _NEWCOMERS
    return soak_in_lab("soak-mount", partial(soak_hanging_mount, pods=pods, newcomers=newcomers))


async def soak_hanging_mount(cluster: Cluster, *, pods: int, newcomers: int) -> Findings:
    """Raises AssertionError when a new pod doesn't start, or the stuck one doesn't go."""
    async with surroundings(cluster, "soak-mount", pods=pods, newcomers=newcomers) as others:
        before = await others.time_starts("before")
        directory = cluster.nodes[0].paths.data / "hanging"
        directory.mkdir()
        with hanging_mount(directory) as mount:
            await others.scene.create(PODS, _build_stuck_pod(directory))
            began = time.monotonic()
            beside = await others.time_starts("beside")
            unnamed = await _find_unnamed(others.scene, directory, began)
            named = time.monotonic() - began
            gone, unending = await _delete(others.scene, mount)
        directory.rmdir()
        return others.build_findings(
            "hanging-mount",
            (
                Check("places where the stuck pod doesn't name its mount", unnamed),
                Check("deletions that wait and don't say for what", unending),
            ),
            (
                before,
                beside,
                Figure("the stuck pod named its mount after", named, "s"),
                Figure("the stuck pod was gone after", gone, "s"),
            ),
        )


def _build_stuck_pod(directory: Path) -> Document:
    mounts = [{"name": "data", "mountPath": "/data"}]
    volumes = [{"name": "data", "hostPath": {"path": str(directory), "type": "Directory"}}]
    return build_pod(STUCK, build_shell(volumeMounts=mounts), volumes=volumes)


async def _find_unnamed(scene: Scene, directory: Path, began: float) -> tuple[str, ...]:
    """Where the mount isn't named thirty seconds after the pod was made: its events, its waiting message."""
    missing = await find_silence(scene, "FailedMount", str(directory), began)
    left = max(1.0, NAMED_SECONDS - (time.monotonic() - began))
    try:
        await scene.wait_for_pod(STUCK, _waits_for(str(directory)), left)
    except AssertionError as error:
        return (*missing, f"no waiting message names {directory} within {NAMED_SECONDS:g} s: {error}")
    return missing


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
    await scene.delete_pod(STUCK)
    unending: tuple[str, ...] = ()
    try:
        await scene.wait_until_gone(PODS, STUCK, seconds=NAMED_SECONDS)
    except AssertionError:
        pod = await scene.client.get(PODS, STUCK, scene.namespace)
        if str(mount.path) not in str(pod.status):
            unending = (f"{STUCK} is still there, and doesn't name {mount.path}: {pod.status}",)
        mount.release()
        await scene.wait_until_gone(PODS, STUCK)
    return time.monotonic() - began, unending
