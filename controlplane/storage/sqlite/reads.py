"""Reads of the tables: current values, a prefix as it was at a revision, the changes after one.

IO on the connection it is given; the backend calls these on its reader thread.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from controlplane.storage.contract import Change, StoredValue

_LAST_CHARACTER: Final = "\U0010ffff"

_VALUE: Final = """
SELECT l.key, l.value, l.revision FROM current c JOIN log l ON l.revision = c.revision WHERE c.key = ?
"""

# What is current and was written by then, and what the first later change of each key superseded.
_VALUES_AT: Final = """
SELECT l.key, l.value, l.revision FROM current c JOIN log l ON l.revision = c.revision
 WHERE c.key > :low AND c.key >= :prefix AND c.key < :high AND c.revision <= :at
UNION ALL
SELECT p.key, p.value, p.revision
  FROM (SELECT key, min(revision), previous FROM log
         WHERE revision > :at AND key > :low AND key >= :prefix AND key < :high GROUP BY key) AS later
  JOIN log p ON p.revision = later.previous
 ORDER BY 1 LIMIT :limit
"""

_CHANGES: Final = """
SELECT l.key, l.revision, l.value, p.revision, p.value FROM log l LEFT JOIN log p ON p.revision = l.previous
 WHERE l.revision > :after AND l.revision <= :until AND l.key >= :prefix AND l.key < :high ORDER BY l.revision
"""


def read_value(connection: sqlite3.Connection, key: str) -> StoredValue | None:
    row = connection.execute(_VALUE, (key,)).fetchone()
    return None if row is None else StoredValue(*row)


def read_values_at(
    connection: sqlite3.Connection, prefix: str, revision: int, limit: int, after_key: str
) -> tuple[StoredValue, ...]:
    """Up to `limit` (0: all) values under `prefix` at `revision`, in key order, beyond `after_key`."""
    parameters = {
        "prefix": prefix,
        "high": prefix + _LAST_CHARACTER,
        "low": after_key,
        "at": revision,
        "limit": limit or -1,
    }
    return tuple(StoredValue(*row) for row in connection.execute(_VALUES_AT, parameters))


def read_changes(
    connection: sqlite3.Connection, prefix: str, after_revision: int, until_revision: int
) -> tuple[Change, ...]:
    parameters = {
        "prefix": prefix,
        "high": prefix + _LAST_CHARACTER,
        "after": after_revision,
        "until": until_revision,
    }
    return tuple(_build_change(*row) for row in connection.execute(_CHANGES, parameters))


def _build_change(
    key: str, revision: int, value: bytes | None, previous_revision: int | None, previous: bytes | None
) -> Change:
    before = None
    if previous_revision is not None and previous is not None:
        before = StoredValue(key, previous, previous_revision)
    return Change(key, revision, value, before)
