"""One write against the tables, inside the transaction of the writer's batch.

IO on the connection it is given. The writer thread calls `apply_write`; a refusal is a returned
StorageError, so that one caller's conflict does not undo the batch it shares with others.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import assert_never

from controlplane.storage.contract import Change, StoredValue
from controlplane.storage.errors import KeyExistsError, RevisionConflictError, StorageError


@dataclass(frozen=True, slots=True)
class Create:
    key: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Update:
    key: str
    value: bytes = field(repr=False)
    expected_revision: int


@dataclass(frozen=True, slots=True)
class Delete:
    key: str
    expected_revision: int


@dataclass(frozen=True, slots=True)
class CompactSlice:
    """Forget what the changes up to `revision` superseded, looking at `maximum_changes` at most."""

    revision: int
    maximum_changes: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """How far compaction has come; it is finished when `done` equals `wanted`."""

    wanted: int
    done: int


Write = Create | Update | Delete | CompactSlice
WriteResult = Change | Compacted | StorageError


def read_revision(connection: sqlite3.Connection) -> int:
    """The newest revision ever given out: the last change's, or the compaction that removed it."""
    (newest,) = connection.execute(
        "SELECT max(coalesce((SELECT max(revision) FROM log), 0), (SELECT wanted FROM compaction))"
    ).fetchone()
    return int(newest)


def read_compacted(connection: sqlite3.Connection) -> Compacted:
    wanted, done = connection.execute("SELECT wanted, done FROM compaction").fetchone()
    return Compacted(wanted, done)


def apply_write(connection: sqlite3.Connection, write: Write, revision: int) -> WriteResult:
    """Do `write` as `revision`, which is taken if and only if a Change is returned."""
    match write:
        case Create(key, value):
            previous = _read_previous(connection, key)
            if previous is not None:
                return KeyExistsError(key)
            return _put(connection, key, value, None, revision)
        case Update(key, value, expected):
            previous = _read_previous(connection, key)
            if previous is None or previous.revision != expected:
                return RevisionConflictError(key, expected, previous.revision if previous else 0)
            return _put(connection, key, value, previous, revision)
        case Delete(key, expected):
            previous = _read_previous(connection, key)
            if previous is None or previous.revision != expected:
                return RevisionConflictError(key, expected, previous.revision if previous else 0)
            return _remove(connection, key, previous, revision)
        case CompactSlice(wanted, maximum_changes):
            return _compact(connection, wanted, maximum_changes)
        case _:
            assert_never(write)


def _read_previous(connection: sqlite3.Connection, key: str) -> StoredValue | None:
    row = connection.execute(
        "SELECT c.revision, l.value FROM current c JOIN log l ON l.revision = c.revision WHERE c.key = ?",
        (key,),
    ).fetchone()
    return None if row is None else StoredValue(key, row[1], row[0])


def _put(
    connection: sqlite3.Connection, key: str, value: bytes, previous: StoredValue | None, revision: int
) -> Change:
    connection.execute(
        "INSERT INTO log (revision, key, previous, value) VALUES (?, ?, ?, ?)",
        (revision, key, previous.revision if previous else 0, value),
    )
    connection.execute(
        "INSERT INTO current (key, revision) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET revision = excluded.revision",
        (key, revision),
    )
    return Change(key, revision, value, previous)


def _remove(connection: sqlite3.Connection, key: str, previous: StoredValue, revision: int) -> Change:
    connection.execute(
        "INSERT INTO log (revision, key, previous, value) VALUES (?, ?, ?, NULL)",
        (revision, key, previous.revision),
    )
    connection.execute("DELETE FROM current WHERE key = ?", (key,))
    return Change(key, revision, None, previous)


def _compact(connection: sqlite3.Connection, revision: int, maximum_changes: int) -> Compacted:
    state = read_compacted(connection)
    wanted = max(revision, state.wanted)
    rows = connection.execute(
        "SELECT revision, previous, value IS NULL FROM log WHERE revision > ? AND revision <= ?"
        " ORDER BY revision LIMIT ?",
        (state.done, wanted, maximum_changes),
    ).fetchall()
    gone = [(previous,) for _, previous, _ in rows if previous]
    gone += [(tombstone,) for tombstone, _, deleted in rows if deleted]
    connection.executemany("DELETE FROM log WHERE revision = ?", gone)
    done = rows[-1][0] if len(rows) == maximum_changes else wanted
    connection.execute("UPDATE compaction SET wanted = ?, done = ?", (wanted, done))
    return Compacted(wanted, done)
