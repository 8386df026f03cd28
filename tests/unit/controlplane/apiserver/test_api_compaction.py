"""History is forgotten one period after it was superseded, and what is current never."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.apiserver.compaction import run_compaction
from controlplane.storage.errors import CompactedError
from controlplane.storage.memory import MemoryStorage


class ObservedStorage(MemoryStorage):
    """Says when it has been compacted."""

    def __init__(self) -> None:
        super().__init__()
        self.was_compacted = asyncio.Event()

    async def compact(self, revision: int) -> None:
        await super().compact(revision)
        self.was_compacted.set()


async def test_old_history_goes_and_current_values_stay() -> None:
    storage = ObservedStorage()
    first = await storage.create("/registry/core/nodes/n", b"1")
    await storage.update("/registry/core/nodes/n", b"2", first)
    task = asyncio.ensure_future(run_compaction(storage, period_seconds=0.001))
    async with asyncio.timeout(10):
        await storage.was_compacted.wait()
    task.cancel()
    with pytest.raises(CompactedError):
        await storage.list_prefix("/", revision=first)
    assert [item.value for item in (await storage.list_prefix("/")).items] == [b"2"]
