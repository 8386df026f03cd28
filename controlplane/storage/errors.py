"""What can go wrong in storage, as the API server tells it apart.

Pure. Every backend maps its own failures to these, with the cause chained; the API server turns them into
Status documents (409, 410, 429, 500).
"""

from __future__ import annotations


class StorageError(Exception):
    """Root of everything storage raises; the text is one sentence for people."""


class StorageOpenError(StorageError):
    """The storage cannot be opened: unwritable, in use by another server, or damaged."""


class StorageBusyError(StorageError):
    """More writes are waiting than the storage accepts; try again later."""


class StorageClosedError(StorageError):
    """The storage was closed while, or before, the request was served."""


class KeyExistsError(StorageError):
    def __init__(self, key: str) -> None:
        super().__init__(f"key {key} exists already")
        self.key = key


class RevisionConflictError(StorageError):
    """A compare-and-swap found another revision; `actual` is 0 if the key is absent."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        found = f"is at revision {actual}" if actual else "does not exist"
        super().__init__(f"key {key} {found}, not at revision {expected}")
        self.key = key
        self.expected = expected
        self.actual = actual


class CompactedError(StorageError):
    """The history that was asked for is gone; `compacted` is the oldest revision that can still be read."""

    def __init__(self, revision: int, compacted: int) -> None:
        super().__init__(f"revision {revision} has been compacted; the oldest one kept is {compacted}")
        self.revision = revision
        self.compacted = compacted


class FutureRevisionError(StorageError):
    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future; the current one is {current}")
        self.revision = revision
        self.current = current


class WatchLaggedError(StorageError):
    """A watch was not read for so long that its changes were dropped; watch again from the last one seen."""
