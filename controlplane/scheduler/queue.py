"""Pods that wait for a node: those to be tried now, by priority and age, and those that nothing fits.

No IO but waiting. Called by `controlplane.scheduler.scheduler`. A pod that found no node is tried again
when something changes that lets it fit, never by time; a pod whose binding failed comes back after a
back-off.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from controlplane.scheduler.pod_facts import PodFacts


class SchedulingQueue:
    """Each pod is in at most one place; pods are known by their UIDs."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._active: dict[str, PodFacts] = {}
        self._parked: dict[str, PodFacts] = {}
        self._order = count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        """Pods to be tried now."""
        return len(self._active)

    @property
    def parked(self) -> tuple[PodFacts, ...]:
        return tuple(self._parked.values())

    def put(self, pod: PodFacts) -> None:
        """To be tried as soon as its turn comes; what was known of the pod is replaced."""
        self._parked.pop(pod.uid, None)
        if pod.uid not in self._active:
            heapq.heappush(self._heap, (-pod.priority, next(self._order), pod.uid))
        self._active[pod.uid] = pod
        self._filled.set()

    def park(self, pod: PodFacts) -> None:
        """Nothing fits: it waits for `wake`."""
        self._parked[pod.uid] = pod

    def refresh(self, pod: PodFacts) -> None:
        """The pod changed in a way that helps nothing: where it waits, it waits on."""
        for place in (self._active, self._parked):
            if pod.uid in place:
                place[pod.uid] = pod

    def remove(self, uid: str) -> None:
        self._active.pop(uid, None)
        self._parked.pop(uid, None)

    def wake(self, can_be_helped: Callable[[PodFacts], bool]) -> None:
        """Parked pods that this says something about are to be tried again."""
        for pod in tuple(self._parked.values()):
            if can_be_helped(pod):
                self.put(pod)

    def contains(self, uid: str) -> bool:
        return uid in self._active or uid in self._parked

    async def get(self) -> PodFacts:
        """The most important, then the longest waiting pod."""
        while True:
            pod = self.get_nowait()
            if pod is not None:
                return pod
            self._filled.clear()
            await self._filled.wait()

    def get_nowait(self) -> PodFacts | None:
        """As `get`; None when no pod is to be tried."""
        while self._heap:
            _, _, uid = heapq.heappop(self._heap)
            pod = self._active.pop(uid, None)
            # What was removed meanwhile is still in the heap.
            if pod is not None:
                return pod
        return None
