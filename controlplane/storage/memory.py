"""Storage in this process's memory: for tests, and the reference reading of the contract.

Does no IO. It obeys the same contract suite as the durable backends, hence may stand in for them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator
from itertools import islice

from controlplane.storage.contract import FIRST_REVISION, Change, Listing, StoredValue
from controlplane.storage.errors import (
    CompactedError,
    FutureRevisionError,
    KeyExistsError,
    RevisionConflictError,
    StorageClosedError,
)
from controlplane.storage.feed import ChangeFeed


class MemoryStorage:
    """The contract on two plain containers: current values by key, changes by revision."""

    def __init__(self) -> None:
        self._current: dict[str, StoredValue] = {}
        self._log: list[Change] = []
        self._revision = FIRST_REVISION
        self._compacted = FIRST_REVISION
        self._feed = ChangeFeed()
        self._closed = False

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def create(self, key: str, value: bytes) -> int:
        if key in self._current:
            raise KeyExistsError(key)
        return self._write(key, value)

    async def update(self, key: str, value: bytes, expected_revision: int) -> int:
        self._compare(key, expected_revision)
        return self._write(key, value)

    async def delete(self, key: str, expected_revision: int) -> int:
        self._compare(key, expected_revision)
        return self._write(key, None)

    async def read(self, key: str) -> StoredValue | None:
        self._ensure_open()
        return self._current.get(key)

    async def list_prefix(
        self, prefix: str, *, revision: int = 0, limit: int = 0, after_key: str = ""
    ) -> Listing:
        self._ensure_open()
        at = revision or self._revision
        if at < self._compacted:
            raise CompactedError(at, self._compacted)
        if at > self._revision:
            raise FutureRevisionError(at, self._revision)
        values = self._values_at(at)
        keys = sorted(key for key in values if key.startswith(prefix) and key > after_key)
        chosen = keys[:limit] if limit else keys
        return Listing(tuple(values[key] for key in chosen), at, more=len(chosen) < len(keys))

    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        self._ensure_open()
        if after_revision < self._compacted:
            raise CompactedError(after_revision, self._compacted)
        with self._feed.subscribe(prefix) as subscription:
            backlog = tuple(c for c in self._changes_after(after_revision) if c.key.startswith(prefix))
            if backlog:
                yield backlog
            while batch := await subscription.next_batch():
                if fresh := tuple(change for change in batch if change.revision > after_revision):
                    yield fresh

    async def compact(self, revision: int) -> None:
        self._ensure_open()
        if revision > self._revision:
            raise FutureRevisionError(revision, self._revision)
        if revision > self._compacted:
            self._log = self._changes_after(revision)
            self._compacted = revision

    async def close(self) -> None:
        self._closed = True
        self._feed.close()

    def _ensure_open(self) -> None:
        if self._closed:
            raise StorageClosedError("the storage is closed")

    def _compare(self, key: str, expected_revision: int) -> None:
        current = self._current.get(key)
        actual = current.revision if current else 0
        if actual != expected_revision or not current:
            raise RevisionConflictError(key, expected_revision, actual)

    def _write(self, key: str, value: bytes | None) -> int:
        self._ensure_open()
        self._revision += 1
        change = Change(key, self._revision, value, self._current.pop(key, None))
        if value is not None:
            self._current[key] = StoredValue(key, value, self._revision)
        self._log.append(change)
        self._feed.publish((change,))
        return self._revision

    def _changes_after(self, revision: int) -> list[Change]:
        start = bisect_right(self._log, revision, key=lambda change: change.revision)
        return list(islice(self._log, start, None))

    def _values_at(self, revision: int) -> dict[str, StoredValue]:
        """The current values with every later change undone, newest first."""
        values = dict(self._current)
        for change in reversed(self._changes_after(revision)):
            values.pop(change.key, None)
            if change.previous is not None:
                values[change.key] = change.previous
        return values
