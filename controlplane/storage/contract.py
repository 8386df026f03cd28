"""The storage contract: one revision counter, one table of current values, one bounded log of changes.

Pure: types only. The API server is the only caller; `memory` and `sqlite` implement it and one suite,
tests/contract/storage, runs on each of them. Keys look like "/registry/<group or
core>/<plural>/<namespace>/<name>"; values are bytes that storage never looks into. The model is etcd's:
every write takes the next revision, a revision never repeats, and history older than a compaction is gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Protocol

FIRST_REVISION: Final = 1
"""The revision of storage that was never written to: 0 would mean "any" to Kubernetes' clients."""


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value and the revision that wrote it. Values hold Secrets, hence stay out of the repr."""

    key: str
    value: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `value` is None for a deletion, `previous` is None for a creation."""

    key: str
    revision: int
    value: bytes | None = field(repr=False)
    previous: StoredValue | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a prefix held at `revision`, in key order; `more` says that a limit cut it short."""

    items: tuple[StoredValue, ...]
    revision: int
    more: bool = False


class Storage(Protocol):
    """Every method may raise StorageError; a write that returned is on disk."""

    @property
    def revision(self) -> int:
        """The newest revision that this process has been told of."""

    @property
    def compacted(self) -> int:
        """The oldest revision that can still be listed or watched from."""

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that must not exist and return its revision; KeyExistsError."""

    async def update(self, key: str, value: bytes, expected_revision: int) -> int:
        """Replace a value last written at `expected_revision`; RevisionConflictError."""

    async def delete(self, key: str, expected_revision: int) -> int:
        """Remove a value last written at `expected_revision`; returns the deletion's own revision."""

    async def read(self, key: str) -> StoredValue | None:
        """The current value, or None."""

    async def list_prefix(
        self, prefix: str, *, revision: int = 0, limit: int = 0, after_key: str = ""
    ) -> Listing:
        """Values under `prefix` in key order, at `revision` (0: now), from beyond `after_key` on.

        CompactedError if that revision is gone, FutureRevisionError if it is yet to come.
        """

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        """Every change under `prefix` with a revision above `after_revision`, in order, in non-empty batches.

        CompactedError (from the first step) if part of that is gone. Ends only when storage closes.
        """

    async def compact(self, revision: int) -> None:
        """Forget what was superseded at or before `revision`; going backwards is no change, nor an error."""

    async def close(self) -> None:
        """Finish the writes that were accepted, end the watches, release files."""
