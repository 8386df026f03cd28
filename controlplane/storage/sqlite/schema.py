"""The SQLite file: how it is opened, its two tables, and what is checked at start.

IO. `current` says which revision holds each key's value; `log` holds every change, values included, until
compaction. A change names the revision it superseded (`previous`, 0 for none), which makes both undoing (a
list at an older revision) and compaction cost as much as there were changes, without an index on the log.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from controlplane.storage.errors import StorageOpenError

SCHEMA_VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE current (key TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, previous INTEGER NOT NULL, value BLOB);
CREATE TABLE compaction (wanted INTEGER NOT NULL, done INTEGER NOT NULL);
INSERT INTO compaction VALUES (1, 1);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """The writer's connection, tables made and the file checked; StorageOpenError says what is wrong."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        _configure(connection)
        _check(connection, path)
    except sqlite3.DatabaseError as error:
        raise StorageOpenError(_explain(path, error)) from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for one thread at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def lock_database(path: Path) -> int:
    """Hold the data directory for this process: a file descriptor that releases it when closed."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageOpenError(
            f"cannot write {lock_path}: {error.strerror}; choose a --data-dir that can be written"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StorageOpenError(
            f"{path.parent} is in use by another server; stop it, or choose another --data-dir"
        ) from error
    return descriptor


def _configure(connection: sqlite3.Connection) -> None:
    # auto_vacuum can only be chosen before the first table: it lets compaction give pages back later.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise StorageOpenError(
            f"{path} has layout {version}, which this Berth cannot read; use the version that wrote it"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StorageOpenError(f"the database {path} is damaged ({verdict}); restore it from a backup")


def _explain(path: Path, error: sqlite3.DatabaseError) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"cannot write the database {path} ({error}); choose a --data-dir that can be written"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return f"the database {path} is damaged ({error}); restore it from a backup"
        case sqlite3.SQLITE_BUSY:
            return f"the database {path} is locked by another program; stop that program"
        case _:
            return f"cannot open the database {path}: {error}"
