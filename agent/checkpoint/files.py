"""A directory of small files of which each holds the newest state of one thing, replaced atomically.

IO, for the other modules of this package. Whoever puts something in never waits for the disk: files are
written by `run`, in a thread, only the newest of each name, and what can't be written is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from agent.checkpoint.records import RecordError

_logger = logging.getLogger(__name__)

DecodedT = TypeVar("DecodedT")
Encode = Callable[[], bytes]

_RETRY_SECONDS: Final = 5.0
_SUFFIX: Final = ".json"


class StateFiles:
    """`read_all` once, before `run`; names are plain file names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pending: dict[str, Encode | None] = {}
        self._work = asyncio.Event()
        self._lock = threading.Lock()

    def put(self, name: str, encode: Encode) -> None:
        """Soon on disk, as `encode` then gives it; newer contents of that name replace older ones."""
        self._pending[name] = encode
        self._work.set()

    def remove(self, name: str) -> None:
        """Soon gone from the disk. Idempotent."""
        self._pending[name] = None
        self._work.set()

    def read_all(self, decode: Callable[[bytes], DecodedT]) -> Iterator[tuple[str, DecodedT]]:
        """Every file by name; one that can't be read, or that `decode` refuses with a RecordError, is named
        in the log and set aside.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in self._directory.glob("*.new"):
            draft.unlink()  # its writer died
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                yield path.stem, decode(path.read_bytes())
            except (RecordError, OSError) as error:
                _set_aside(path, error)

    async def run(self) -> None:
        """Writes what was put in, until cancelled; then once more."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if not await self._write_pending():
                    await asyncio.sleep(_RETRY_SECONDS)
                    self._work.set()
        finally:
            self._write_last()

    async def _write_pending(self) -> bool:
        while self._pending:
            batch = dict(self._pending)
            written, refused = await asyncio.to_thread(self._write_batch, batch)
            for name in written:
                if name in self._pending and self._pending[name] is batch[name]:
                    del self._pending[name]
            if refused is not None:
                self._complain(*refused)
                return False
        return True

    def _write_batch(
        self, batch: Mapping[str, Encode | None]
    ) -> tuple[list[str], tuple[str, OSError] | None]:
        """Which files are on the disk now, and the first that can't be written."""
        written: list[str] = []
        for name, encode in batch.items():
            try:
                self._write(name, encode)
            except OSError as error:
                return written, (name, error)
            written.append(name)
        return written, None

    def _write_last(self) -> None:
        for name, encode in tuple(self._pending.items()):
            try:
                self._write(name, encode)
            except OSError as error:
                self._complain(name, error)
        self._pending.clear()

    def _complain(self, name: str, error: OSError) -> None:
        path = self._directory / f"{name}{_SUFFIX}"
        _logger.error("a state file can't be written", extra={"path": str(path), "error": str(error)})

    def _write(self, name: str, encode: Encode | None) -> None:
        """Only what is still the newest: a thread may come late, when `run` has ended and written it all."""
        with self._lock:
            if name in self._pending and self._pending[name] is encode:
                _replace(self._directory / f"{name}{_SUFFIX}", encode)


def _replace(path: Path, encode: Encode | None) -> None:
    if encode is None:
        path.unlink(missing_ok=True)
        return
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode())
        file.flush()
        os.fdatasync(file.fileno())
    draft.replace(path)


def _set_aside(path: Path, error: Exception) -> None:
    path.replace(path.with_suffix(".unreadable"))
    _logger.warning("a state file was set aside", extra={"path": str(path), "error": str(error)})
