"""The one thread that writes: it takes what waits, commits it as one transaction, then reports.

IO. Group commit makes many writers share one fsync; nobody hears of a write before it is on disk. The backend
submits from the event loop and gets whole batches of outcomes back, in revision order.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from controlplane.storage.contract import Change
from controlplane.storage.errors import StorageBusyError, StorageError
from controlplane.storage.sqlite.writes import Write, WriteResult, apply_write

MAXIMUM_BATCH: Final = 64
MAXIMUM_WAITING: Final = 10_000

TicketT = TypeVar("TicketT")


class Outcome(NamedTuple, Generic[TicketT]):
    """What became of one write; the ticket is whatever the submitter handed in with it."""

    ticket: TicketT
    result: WriteResult


class Writer(Generic[TicketT]):
    """Owns the writing connection from `start` to `stop`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        revision: int,
        report: Callable[[Sequence[Outcome[TicketT]]], None],
    ) -> None:
        """`report` is called on the writer's thread after each commit."""
        self._connection = connection
        self._revision = revision
        self._report = report
        self._queue: queue.Queue[tuple[Write, TicketT] | None] = queue.Queue(MAXIMUM_WAITING)
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, write: Write, ticket: TicketT) -> None:
        try:
            self._queue.put_nowait((write, ticket))
        except queue.Full as error:
            raise StorageBusyError(
                f"more than {MAXIMUM_WAITING} writes are waiting; try again later"
            ) from error

    def stop(self) -> None:
        """Finish what was submitted and close the connection; blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._take_batch()
            if batch:
                self._report(self._commit(batch))
        self._connection.close()

    def _take_batch(self) -> tuple[list[tuple[Write, TicketT]], bool]:
        batch: list[tuple[Write, TicketT]] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == MAXIMUM_BATCH or self._queue.empty():
                return batch, True
            item = self._queue.get_nowait()
        return batch, False

    def _commit(self, batch: Sequence[tuple[Write, TicketT]]) -> list[Outcome[TicketT]]:
        revision = self._revision
        outcomes: list[Outcome[TicketT]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write, ticket in batch:
                result = apply_write(self._connection, write, revision + 1)
                if isinstance(result, Change):
                    revision = result.revision
                outcomes.append(Outcome(ticket, result))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            failure = StorageError(f"the database refused to write: {error}")
            failure.__cause__ = error
            return [Outcome(ticket, failure) for _, ticket in batch]
        self._revision = revision
        return outcomes

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
