"""One pod of which the runtime doesn't answer any more, among many: it says so, and nobody else notices.

A shell on a lab of one node. `soak_hanging_runtime` is used by the tests too. The pod's shim is stopped by
SIGSTOP, so that every call that concerns its processes hangs inside containerd: probes, and the deletion,
which must name its call, and end once the shim goes on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from agent.runtime.client import RuntimeClient
from agent.runtime.cut_starts import find_shims
from bench.report import Figure
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.soak_lab import soak_in_lab
from bench.soak.stuck_pod import STUCK, find_silence, surroundings
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.cluster import Cluster
from tests.cluster.scene import build_pod, build_shell

_PODS: Final = 50
_NEWCOMERS: Final = 5
_PROBE: Final = {"exec": {"command": ["true"]}, "periodSeconds": 2}


def run(options: SoakOptions) -> Findings:
    """Fifty pods, one of which hangs."""
    pods, newcomers = options.pods or _PODS, options.repeats or _NEWCOMERS
    return soak_in_lab("soak-shim", partial(soak_hanging_runtime, pods=pods, newcomers=newcomers))


async def soak_hanging_runtime(cluster: Cluster, *, pods: int, newcomers: int) -> Findings:
    """Raises AssertionError when a new pod doesn't start, or the stuck one doesn't go afterwards."""
    async with surroundings(cluster, "soak-shim", pods=pods, newcomers=newcomers) as others:
        scene = others.scene
        before = await others.time_starts("before")
        pod = await scene.start_pod(build_pod(STUCK, build_shell(readinessProbe=_PROBE)))
        with _frozen(await _find_shim(cluster, pod)):
            await scene.delete_pod(STUCK)
            began = time.monotonic()
            beside = await others.time_starts("beside")
            silent = await find_silence(
                scene, "FailedKillContainer", "StopContainer of container main has not returned", began
            )
            named = time.monotonic() - began
        began = time.monotonic()
        await scene.wait_until_gone(PODS, STUCK)
        gone = time.monotonic() - began
        return others.build_findings(
            "hanging-runtime",
            (Check("deletions that wait and don't say for what", silent),),
            (
                before,
                beside,
                Figure("the stuck pod named its call after", named, "s"),
                Figure("it was gone after the runtime went on", gone, "s"),
            ),
        )


async def _find_shim(cluster: Cluster, pod: Pod) -> int:
    node = cluster.nodes[0]
    async with RuntimeClient(node.endpoint, node_name=node.name) as client:
        sandboxes = await client.list_pod_sandboxes(pod.uid)
    shims = [shim for sandbox in sandboxes for shim in find_shims(sandbox.id)]
    assert len(shims) == 1, f"{STUCK} has the shims {shims}"
    return shims[0]


@contextmanager
def _frozen(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
