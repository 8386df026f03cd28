"""One pod that hangs, among many: what its run looks at, whatever it hangs on.

A shell on a lab's first node. The pods beside it must stay as they are, the node Ready, and new pods start as
before. Used by the runs `hanging-mount` and `hanging-runtime`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.report import Figure
from bench.soak.crowd import Crowd, running_crowd
from bench.soak.findings import Check, Findings
from bench.soak.histories import NodeHistory, watching
from kubeapi.resources import NODES
from lab.cluster import Cluster
from tests.cluster.scene import Scene, build_pod

NAMED_SECONDS: Final = 30.0
STUCK: Final = "stuck"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The pods and the node beside the stuck one."""

    crowd: Crowd
    nodes: NodeHistory
    newcomers: int

    @property
    def scene(self) -> Scene:
        return self.crowd.scene

    async def time_starts(self, when: str) -> Figure:
        """The median of the starts of a few new pods, one after the other."""
        seconds = [await self._time_start(f"{when}-{number}") for number in range(self.newcomers)]
        return Figure(f"start of a new pod {when}", median(seconds), "s")

    async def _time_start(self, name: str) -> float:
        """Seconds from the pod's creation until a watch shows it Ready; it goes again at once."""
        began = time.monotonic()
        await self.scene.start_pod(build_pod(name))
        seconds = time.monotonic() - began
        await self.scene.delete_pod(name)
        return seconds

    def build_findings(self, name: str, checks: tuple[Check, ...], figures: tuple[Figure, ...]) -> Findings:
        """What became of everybody else, then what the run found of the stuck pod itself."""
        history = self.crowd.history
        others = (
            Check("times that the node wasn't Ready", tuple(self.nodes.unready)),
            Check("container restarts of other pods", (*history.restarts, *history.gone)),
            Check("readiness flips of other pods", tuple(history.flips)),
            Check("failed requests", self.crowd.list_failures()),
        )
        counts = (Figure("pods", len(history.names) + 1, ""), Figure("requests", self.crowd.asked, ""))
        return Findings(name, (*others, *checks), (*counts, *figures))


@asynccontextmanager
async def surroundings(
    cluster: Cluster, name: str, *, pods: int, newcomers: int
) -> AsyncIterator[Surroundings]:
    """All but one of `pods`, Ready, and the node under a watch, while the block runs."""
    nodes = NodeHistory()
    async with (
        running_crowd(cluster, name, pods - 1) as crowd,
        watching(crowd.scene.client, NODES, nodes.note),
    ):
        yield Surroundings(crowd, nodes, newcomers)


async def find_silence(scene: Scene, reason: str, words: str, began: float) -> tuple[str, ...]:
    """Empty when an event of the stuck pod has these words within thirty seconds from `began`."""
    try:
        async with asyncio.timeout(max(0.1, NAMED_SECONDS - (time.monotonic() - began))):
            await scene.wait_for_event(STUCK, reason, words)
    except (TimeoutError, AssertionError):
        return (f"no event {reason} says {words!r} within {NAMED_SECONDS:g} s",)
    return ()
