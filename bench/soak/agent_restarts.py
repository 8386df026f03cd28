"""An agent that dies by SIGKILL and starts again, many times under many pods: nobody notices.

A shell on a lab of one node. `soak_agent` is used by the tests too. What counts is what a watch of the pods
and endless requests to their Service show.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from bench.report import Figure
from bench.soak.crowd import running_crowd
from bench.soak.findings import Check, Findings, SoakOptions
from bench.soak.soak_lab import soak_in_lab
from lab.cluster import Cluster
from tests.cluster.scene import build_pod

_PODS: Final = 40
_RESTARTS: Final = 50
# How many requests pass between a restart and the next death: an agent dies while it still starts, too.
_REQUESTS: Final = (1, 10, 60)


def run(options: SoakOptions) -> Findings:
    """Forty pods, fifty restarts."""
    pods, restarts = options.pods or _PODS, options.repeats or _RESTARTS
    return soak_in_lab("soak-agent", partial(soak_agent, pods=pods, restarts=restarts))


async def soak_agent(cluster: Cluster, *, pods: int, restarts: int) -> Findings:
    """Raises LabError when the agent doesn't come up again, AssertionError when a pod doesn't start."""
    node = cluster.nodes[0].name
    async with running_crowd(cluster, "soak-agent", pods) as crowd:
        began = time.monotonic()
        for number in range(restarts):
            await asyncio.to_thread(cluster.restart_node, node)
            await crowd.wait_for_requests(_REQUESTS[number % len(_REQUESTS)])
        seconds = time.monotonic() - began
        await crowd.scene.start_pod(build_pod("after-all"))
        history = crowd.history
        return Findings(
            "agent-restarts",
            (
                Check("container restarts", (*history.restarts, *history.gone)),
                Check("readiness flips", tuple(history.flips)),
                Check("failed requests", crowd.list_failures()),
            ),
            (
                Figure("pods", len(history.names), ""),
                Figure("restarts of the agent", restarts, ""),
                Figure("requests", crowd.asked, ""),
                Figure("a restart and its requests", seconds / restarts, "s"),
            ),
        )
