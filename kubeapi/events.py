"""Writes Events to the API server, behind everybody's back: noting one never waits and never fails.

Does IO through `kubeapi.client`; one writer per process. Used by the agent, the scheduler and the
controllers. What can't be written after a few attempts is dropped, as Events are for people and nothing
depends on them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from kubeapi.backoff import Backoff
from kubeapi.client import Client, PatchType
from kubeapi.core import EventSource, ObjectReference
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.event_records import (
    EventType,
    Occurrence,
    RecordedEvent,
    RecordedEvents,
    build_event,
    build_repetition,
)
from kubeapi.resources import EVENTS

_logger = logging.getLogger(__name__)

_QUEUE_LIMIT: Final = 1000
_ATTEMPTS: Final = 12
_BACKOFF: Final = Backoff(initial_seconds=0.5, maximum_seconds=10.0)
_LONGEST_PAUSE_SECONDS: Final = 1.0  # whatever made one write slow, people wait for the next


class EventRecorder:
    """Takes occurrences at any time, and writes them in order while `run` runs."""

    def __init__(
        self,
        client: Client,
        *,
        component: str,
        host: str = "",
        clock: Callable[[], float] = time.time,
        backoff: Backoff = _BACKOFF,
        linger_seconds: float = 0.0,
        share: float = 1.0,
    ) -> None:
        """`linger_seconds`: how old an occurrence is before it is written. `share`: how much of its time the
        recorder may spend on writing; what is slow because others are busy is done more rarely then.
        """
        self._client = client
        self._source = EventSource(component=component, host=host)
        self._clock = clock
        self._backoff = backoff
        self._linger_seconds = linger_seconds
        self._share = share
        self._queue: asyncio.Queue[Occurrence] = asyncio.Queue(_QUEUE_LIMIT)
        self._recorded = RecordedEvents()
        self._dropped = 0
        self._last_unique = 0

    @property
    def dropped(self) -> int:
        """How many occurrences were never written: the queue was full, or the server refused them."""
        return self._dropped

    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None:
        """Notes that something happened; returns at once."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        try:
            self._queue.put_nowait(Occurrence(regarding, type, reason, message, now, self._next_unique()))
        except asyncio.QueueFull:
            self._dropped += 1

    async def run(self) -> None:
        """Writes what was noted, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            occurrence = await self._queue.get()
            await self._linger(occurrence)
            began = await self._write_patiently(occurrence)
            self._queue.task_done()
            if self._share < 1.0:
                pause = (loop.time() - began) * (1.0 / self._share - 1.0)
                await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))

    async def drain(self) -> None:
        """Returns when all that was noted so far is written or dropped; `run` must be running."""
        await self._queue.join()

    async def _linger(self, occurrence: Occurrence) -> None:
        seconds = self._linger_seconds - (self._clock() - occurrence.when.timestamp())
        if seconds > 0:
            await asyncio.sleep(min(seconds, self._linger_seconds))

    async def _write_patiently(self, occurrence: Occurrence) -> float:
        """When the last attempt began, on the loop's clock: waiting for a server is no work."""
        loop = asyncio.get_running_loop()
        for attempt in range(_ATTEMPTS):
            began = loop.time()
            try:
                await self._write(occurrence)
                return began
            except ApiStatusError as error:
                if error.code < 500 and error.code != 429:
                    self._drop(occurrence, error)
                    return began
                failure: KubeAPIError = error
            except KubeAPIError as error:
                failure = error
            await asyncio.sleep(self._backoff.delay(attempt, random.random()))
        self._drop(occurrence, failure)
        return loop.time()

    async def _write(self, occurrence: Occurrence) -> None:
        recorded = self._recorded.find(occurrence)
        if recorded is None or not await self._count_once_more(recorded, occurrence):
            await self._create(occurrence)

    async def _count_once_more(self, recorded: RecordedEvent, occurrence: Occurrence) -> bool:
        """False when the Event is no longer there: they expire."""
        try:
            await self._client.patch(
                EVENTS,
                build_repetition(recorded, occurrence),
                recorded.name,
                recorded.namespace,
                patch_type=PatchType.MERGE,
            )
        except ApiStatusError as error:
            if not error.is_not_found:
                raise
            self._recorded.forget(occurrence)
            return False
        counted = RecordedEvent(recorded.name, recorded.namespace, recorded.count + 1)
        self._recorded.remember(occurrence, counted)
        return True

    async def _create(self, occurrence: Occurrence) -> None:
        event = build_event(occurrence, self._source)
        try:
            await self._client.create(EVENTS, event, event.metadata.namespace)
        except ApiStatusError as error:
            # An earlier attempt whose answer was lost.
            if not error.is_already_exists:
                raise
        recorded = RecordedEvent(event.metadata.name, event.metadata.namespace, 1)
        self._recorded.remember(occurrence, recorded)

    def _next_unique(self) -> int:
        """Nanoseconds of the clock, made to grow."""
        self._last_unique = max(self._last_unique + 1, int(self._clock() * 1e9))
        return self._last_unique

    def _drop(self, occurrence: Occurrence, error: KubeAPIError) -> None:
        self._dropped += 1
        _logger.warning(
            "An event could not be written and is dropped",
            extra={
                "reason": occurrence.reason,
                "object": f"{occurrence.regarding.namespace}/{occurrence.regarding.name}",
                "error": str(error),
            },
        )
