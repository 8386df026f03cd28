"""Storage in one SQLite file: the embedded default.

IO. Writes go to the writer thread and are acknowledged after their commit (WAL, synchronous=FULL); reads
run on a reader thread of their own; watches are fed from the commits. Only one process may open the file at
a time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from controlplane.storage.contract import Change, Listing, StoredValue
from controlplane.storage.errors import (
    CompactedError,
    FutureRevisionError,
    StorageClosedError,
    StorageError,
)
from controlplane.storage.feed import ChangeFeed
from controlplane.storage.sqlite.reads import read_changes, read_value, read_values_at
from controlplane.storage.sqlite.schema import lock_database, open_database, open_reader
from controlplane.storage.sqlite.writer import Outcome, Writer
from controlplane.storage.sqlite.writes import (
    Compacted,
    CompactSlice,
    Create,
    Delete,
    Update,
    Write,
    read_compacted,
    read_revision,
)

_COMPACTION_SLICE_CHANGES: Final = 500

_ResultT = TypeVar("_ResultT")
_Ticket = asyncio.Future[Change | Compacted]


async def open_sqlite_storage(path: Path) -> SQLiteStorage:
    """Open, or make, the database at `path`; StorageOpenError if that cannot be done."""
    loop = asyncio.get_running_loop()
    lock, connection = await asyncio.to_thread(_open, path)
    return SQLiteStorage(path, lock, connection, loop)


def _open(path: Path) -> tuple[int, sqlite3.Connection]:
    lock = lock_database(path)
    try:
        return lock, open_database(path)
    except BaseException:
        os.close(lock)
        raise


class SQLiteStorage:
    """Made by `open_sqlite_storage`; lives on the loop it was opened on."""

    def __init__(
        self, path: Path, lock: int, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._lock = lock
        self._loop = loop
        self._revision = read_revision(connection)
        self._compacted = read_compacted(connection).wanted
        self._feed = ChangeFeed()
        self._reader = open_reader(path)
        self._read_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-reader")
        self._writer: Writer[_Ticket] = Writer(connection, self._revision, self._report)
        self._writer.start()
        self._closed = False

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def create(self, key: str, value: bytes) -> int:
        return await self._change(Create(key, value))

    async def update(self, key: str, value: bytes, expected_revision: int) -> int:
        return await self._change(Update(key, value, expected_revision))

    async def delete(self, key: str, expected_revision: int) -> int:
        return await self._change(Delete(key, expected_revision))

    async def read(self, key: str) -> StoredValue | None:
        return await self._read(lambda connection: read_value(connection, key))

    async def list_prefix(
        self, prefix: str, *, revision: int = 0, limit: int = 0, after_key: str = ""
    ) -> Listing:
        at = revision or self._revision
        if at > self._revision:
            raise FutureRevisionError(at, self._revision)
        wanted = limit + 1 if limit else 0
        values = await self._read(
            lambda connection: read_values_at(connection, prefix, at, wanted, after_key)
        )
        # Checked after the read: a compaction beside it may have removed what it was about to see.
        if at < self._compacted:
            raise CompactedError(at, self._compacted)
        more = bool(limit) and len(values) > limit
        return Listing(values[:limit] if more else values, at, more)

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        self._ensure_open()
        with self._feed.subscribe(prefix) as subscription:
            head = self._revision
            backlog = await self._read(
                lambda connection: read_changes(connection, prefix, after_revision, head)
            )
            if after_revision < self._compacted:
                raise CompactedError(after_revision, self._compacted)
            if backlog:
                yield backlog
            while batch := await subscription.next_batch():
                if fresh := tuple(change for change in batch if change.revision > after_revision):
                    yield fresh

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevisionError(revision, self._revision)
        # Readers must be refused before the first row goes.
        self._compacted = max(self._compacted, revision)
        state = await self._submit(CompactSlice(revision, _COMPACTION_SLICE_CHANGES))
        while isinstance(state, Compacted) and state.done < state.wanted:
            state = await self._submit(CompactSlice(revision, _COMPACTION_SLICE_CHANGES))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.stop)
        self._feed.close()
        await asyncio.to_thread(self._read_executor.shutdown)
        self._reader.close()
        os.close(self._lock)

    def _ensure_open(self) -> None:
        if self._closed:
            raise StorageClosedError("the storage is closed")

    async def _change(self, write: Write) -> int:
        result = await self._submit(write)
        assert isinstance(result, Change)
        return result.revision

    async def _submit(self, write: Write) -> Change | Compacted:
        self._ensure_open()
        ticket: _Ticket = self._loop.create_future()
        self._writer.submit(write, ticket)
        return await ticket

    async def _read(self, read: Callable[[sqlite3.Connection], _ResultT]) -> _ResultT:
        self._ensure_open()
        try:
            return await self._loop.run_in_executor(self._read_executor, read, self._reader)
        except sqlite3.Error as error:
            raise StorageError(f"the database refused to read: {error}") from error

    def _report(self, outcomes: Sequence[Outcome[_Ticket]]) -> None:
        """On the writer's thread: hand a committed batch to the loop."""
        self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _deliver(self, outcomes: Sequence[Outcome[_Ticket]]) -> None:
        """On the loop: watches hear of a change before its writer does."""
        changes = [outcome.result for outcome in outcomes if isinstance(outcome.result, Change)]
        if changes:
            self._revision = changes[-1].revision
            self._feed.publish(changes)
        for ticket, result in outcomes:
            if ticket.cancelled():
                continue
            if isinstance(result, StorageError):
                ticket.set_exception(result)
            else:
                ticket.set_result(result)
