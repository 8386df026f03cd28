"""Keeps pod records in files, one for each pod, replaced atomically.

IO: `<root>/checkpoint/pods/<uid>.json`, mode 0600 because a pod's variables may hold secrets. Called by the
lanes, who never wait for the disk: records are written by `run`, in a thread, only the newest of each pod.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import Final, Protocol

from agent.checkpoint.records import PodRecord, RecordError, decode_record, encode_record
from kubeapi.pod import PodUID

_logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0


class Checkpoint(Protocol):
    """Where the lanes leave their records."""

    def save(self, record: PodRecord) -> None:
        """Soon on disk; a newer record replaces an older one."""

    def remove(self, uid: PodUID) -> None:
        """Soon gone from the disk. Idempotent."""


class FileCheckpoint:
    """`read_all` once, before `run`."""

    def __init__(self, root_dir: Path) -> None:
        self._directory = root_dir / "checkpoint" / "pods"
        self._pending: dict[PodUID, PodRecord | None] = {}
        self._work = asyncio.Event()
        self._lock = threading.Lock()

    def save(self, record: PodRecord) -> None:
        self._pending[record.pod.uid] = record
        self._work.set()

    def remove(self, uid: PodUID) -> None:
        self._pending[uid] = None
        self._work.set()

    def read_all(self) -> tuple[PodRecord, ...]:
        """Every record on disk; one that can't be read is set aside, with a warning."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in self._directory.glob("*.new"):
            draft.unlink()  # its writer died
        records = (self._read(path) for path in sorted(self._directory.glob("*.json")))
        return tuple(record for record in records if record is not None)

    def _read(self, path: Path) -> PodRecord | None:
        try:
            return decode_record(path.read_bytes())
        except RecordError as error:
            path.replace(path.with_suffix(".unreadable"))
            _logger.warning("a pod record was set aside", extra={"path": str(path), "error": str(error)})
            return None

    async def run(self) -> None:
        """Writes what was saved, until cancelled; then once more."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if not await self._write_pending():
                    await asyncio.sleep(_RETRY_SECONDS)
                    self._work.set()
        finally:
            for uid, record in tuple(self._pending.items()):
                self._write(uid, record)
            self._pending.clear()

    async def _write_pending(self) -> bool:
        while self._pending:
            uid, record = next(iter(self._pending.items()))
            try:
                await asyncio.to_thread(self._write, uid, record)
            except OSError as error:
                _logger.error("a pod record can't be written", extra={"uid": uid, "error": str(error)})
                return False
            if self._pending.get(uid) is record:
                del self._pending[uid]
        return True

    def _write(self, uid: PodUID, record: PodRecord | None) -> None:
        """Only what is still the newest: a thread may come late, when `run` has ended and written it all."""
        with self._lock:
            if uid in self._pending and self._pending[uid] is record:
                _replace(self._directory / f"{_file_name(uid)}.json", record)


def _replace(path: Path, record: PodRecord | None) -> None:
    if record is None:
        path.unlink(missing_ok=True)
        return
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_record(record))
        file.flush()
        os.fdatasync(file.fileno())
    draft.replace(path)


def _file_name(uid: PodUID) -> str:
    """The uid itself where it is a plain name, as uids of the API are; else its digest."""
    plain = uid.replace("-", "").isalnum() and len(uid) <= 64
    return uid if plain else hashlib.sha256(uid.encode()).hexdigest()
