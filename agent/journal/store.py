"""The journal of this node's pods: takes entries at any time, and writes them behind everybody's back.

IO through `files`, in a thread of its own, a batch at a time. Called by the lanes, which never wait for it
and never fail for it: what can't be written is dropped, which is logged once. A SIGKILL costs what was noted
within the last `_BATCH_SECONDS`; files are not forced to the disk, for after a loss of power the timeline of
what ran before matters least.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.journal.entry import Entry, Heartbeat, Picture, PodName
from agent.journal.files import JournalBounds, JournalFiles
from agent.volumes.blocking import BlockingWork, WorkHangs

_logger = logging.getLogger(__name__)

_BATCH_SECONDS: Final = 0.3
_BEAT_SECONDS: Final = 10.0
_WRITE_SECONDS: Final = 10.0
_PENDING_LIMIT: Final = 10_000
_PRUNE_EVERY: Final = 100  # batches
_LAST_WRITE_SECONDS: Final = 3.0


class PodJournal(Protocol):
    """Where the lanes tell what happens to their pods; every call returns at once and never fails."""

    def note(self, pod: PodName, entry: Entry) -> None:
        """One more line of the pod's timeline."""

    def show(self, pod: PodName, picture: Picture) -> None:
        """The pod as it is now; a newer one replaces an older one."""

    def close(self, pod: PodName) -> None:
        """The pod is gone from this node; its timeline stays for a while."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one write puts on the disk."""

    entries: Mapping[str, tuple[PodName, list[Entry]]]
    pictures: Mapping[str, Picture | None]
    beat: Heartbeat
    here: tuple[str, ...]


class NoJournal:
    """A `PodJournal` that remembers nothing."""

    def note(self, pod: PodName, entry: Entry) -> None:
        pass

    def show(self, pod: PodName, picture: Picture) -> None:
        pass

    def close(self, pod: PodName) -> None:
        pass


class FileJournal:
    """`run` is the one task that writes; `now` answers seconds since the epoch."""

    def __init__(
        self,
        root_dir: Path,
        node_name: str,
        now: Callable[[], float],
        bounds: JournalBounds | None = None,
    ) -> None:
        self._files = JournalFiles(root_dir, bounds or JournalBounds())
        self._node_name = node_name
        self._now = now
        self._work = BlockingWork()
        self._noted = asyncio.Event()
        self._here: dict[str, PodName] = {}
        self._entries: dict[str, tuple[PodName, list[Entry]]] = {}
        self._pictures: dict[str, Picture | None] = {}
        self._pending = 0
        self._dropped = 0
        self._batches = 0
        self._trouble = ""
        self._prepared = False

    def note(self, pod: PodName, entry: Entry) -> None:
        self._here[pod.uid] = pod
        if self._pending >= _PENDING_LIMIT:
            self._dropped += 1
            return
        self._pending += 1
        self._entries.setdefault(pod.uid, (pod, []))[1].append(entry)
        self._noted.set()

    def show(self, pod: PodName, picture: Picture) -> None:
        self._here[pod.uid] = pod
        self._pictures[pod.uid] = picture
        self._noted.set()

    def close(self, pod: PodName) -> None:
        self._here.pop(pod.uid, None)
        self._pictures[pod.uid] = None
        self._noted.set()

    async def run(self) -> None:
        """Writes until cancelled; then what is left."""
        try:
            while True:
                await self._write_behind()
                await self._wait()
        finally:
            await self._write_rest()

    async def _write_rest(self) -> None:
        """What the process leaves behind when it ends; a disk that hangs doesn't keep it."""
        batch = self._take()
        try:
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                await self._write_batch(batch)
        except (OSError, WorkHangs, TimeoutError) as error:
            _logger.error("the end of the journal can't be written", extra={"error": str(error)})

    async def _wait(self) -> None:
        """For work, and then a moment for more of it; or for the next sign of life."""
        try:
            async with asyncio.timeout(_BEAT_SECONDS):
                await self._noted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_BATCH_SECONDS)
        self._noted.clear()

    async def _write_behind(self) -> None:
        batch = self._take()
        try:
            await self._write_batch(batch)
        except (OSError, WorkHangs) as error:
            self._note_trouble(error, batch)
            return
        if self._trouble:
            _logger.info("the journal is written again", extra={"dropped": self._dropped})
        self._trouble = ""

    async def _write_batch(self, batch: _Batch) -> None:
        await self._work.run(
            "journal", "writing the journal", lambda: self._write(batch), deadline_seconds=_WRITE_SECONDS
        )

    def _take(self) -> _Batch:
        beat = Heartbeat(at=self._now(), node=self._node_name, pid=os.getpid(), dropped=self._dropped)
        batch = _Batch(self._entries, self._pictures, beat, tuple(self._here))
        self._entries, self._pictures, self._pending = {}, {}, 0
        return batch

    def _note_trouble(self, error: OSError | WorkHangs, batch: _Batch) -> None:
        self._dropped += sum(len(lines) for _, lines in batch.entries.values())
        self._pictures = {**batch.pictures, **self._pictures}
        self._prepared = False
        if not self._trouble:
            _logger.error("the journal can't be written; pods go on without it", extra={"error": str(error)})
        self._trouble = str(error)

    def _write(self, batch: _Batch) -> None:
        if not self._prepared:
            self._files.prepare()
            self._prepared = True
        if self._batches == 0:
            self._files.remove_pictures(batch.here)
        for pod, lines in batch.entries.values():
            self._files.append(pod, lines)
        for uid, picture in batch.pictures.items():
            if picture is None:
                self._files.remove_picture(uid)
            else:
                self._files.write_picture(uid, picture)
        self._files.write_heartbeat(batch.beat)
        if self._batches % _PRUNE_EVERY == 0:
            self._files.prune(batch.here)
        self._batches += 1
