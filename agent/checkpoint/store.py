"""Keeps pod records in files, one for each pod, replaced atomically.

IO: `<root>/checkpoint/pods/<uid>.json`, mode 0600 because a pod's variables may hold secrets. Called by the
lanes, who never wait for the disk (see `files`).
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Protocol

from agent.checkpoint.files import StateFiles
from agent.checkpoint.records import PodRecord, decode_record, encode_record
from kubeapi.pod import PodUID


class Checkpoint(Protocol):
    """Where the lanes leave their records."""

    def save(self, record: PodRecord) -> None:
        """Soon on disk; a newer record replaces an older one."""

    def remove(self, uid: PodUID) -> None:
        """Soon gone from the disk. Idempotent."""


class FileCheckpoint:
    """`read_all` once, before `run`."""

    def __init__(self, root_dir: Path) -> None:
        self._files = StateFiles(root_dir / "checkpoint" / "pods")

    def save(self, record: PodRecord) -> None:
        self._files.put(_file_name(record.pod.uid), partial(encode_record, record))

    def remove(self, uid: PodUID) -> None:
        self._files.remove(_file_name(uid))

    def read_all(self) -> tuple[PodRecord, ...]:
        """Every record on disk; one that can't be read is set aside, with a warning."""
        return tuple(record for _, record in self._files.read_all(decode_record))

    async def run(self) -> None:
        """Writes what was saved, until cancelled; then once more."""
        await self._files.run()


def _file_name(uid: PodUID) -> str:
    """The uid itself where it is a plain name, as uids of the API are; else its digest."""
    plain = uid.replace("-", "").isalnum() and len(uid) <= 64
    return uid if plain else hashlib.sha256(uid.encode()).hexdigest()
