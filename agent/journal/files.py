"""The journal's files: where they are, how they grow, and what goes when there is too much.

IO, synchronous: below `<root>/journal`, mode 0600. `<uid>.jsonl` is a pod's timeline, with the pod's name as
its first line, `<uid>.old.jsonl` the part before it, `<uid>.now.json` the pod as it is. Lines are appended
with one write each batch, so that a death in the middle tears the last line at most. Called by `store`, in a
thread; read by `read`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.journal.entry import Entry, Heartbeat, Picture, PodName

HEARTBEAT: Final = "agent.json"
TIMELINE: Final = ".jsonl"
OLD_TIMELINE: Final = ".old.jsonl"
PICTURE: Final = ".now.json"
_SUFFIXES: Final = (OLD_TIMELINE, TIMELINE, PICTURE)  # the longer one first: it ends with the shorter one


@dataclass(frozen=True, slots=True)
class JournalBounds:
    """`timeline_bytes` for each of a pod's two parts; `gone_pods` are kept besides those that are here."""

    timeline_bytes: int = 64 * 1024
    total_bytes: int = 32 * 1024 * 1024
    gone_pods: int = 200


def build_directory(root_dir: Path) -> Path:
    return root_dir / "journal" / "pods"


def build_heartbeat_path(root_dir: Path) -> Path:
    return root_dir / "journal" / HEARTBEAT


def build_stem(uid: str) -> str:
    """The uid itself where it is a plain name, as uids of the API are; else its digest."""
    plain = uid.replace("-", "").isalnum() and len(uid) <= 64
    return uid if plain else hashlib.sha256(uid.encode()).hexdigest()


class JournalFiles:
    """Use from one thread at a time; every method raises OSError."""

    def __init__(self, root_dir: Path, bounds: JournalBounds) -> None:
        self._directory = build_directory(root_dir)
        self._heartbeat = build_heartbeat_path(root_dir)
        self._bounds = bounds

    def prepare(self) -> None:
        """The directories; drafts of a writer that died go."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in self._directory.glob("*.new"):
            draft.unlink()

    def append(self, pod: PodName, entries: Iterable[Entry]) -> None:
        """Adds to the pod's timeline; when that is full, it becomes the old one."""
        path = self._path(pod.uid, TIMELINE)
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        size = path.stat().st_size if path.exists() else 0
        if size and size + len(lines) > self._bounds.timeline_bytes:
            path.replace(self._path(pod.uid, OLD_TIMELINE))
            size = 0
        head = msgspec.json.encode(pod) + b"\n" if size == 0 else b""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, (b"\n" if torn else head) + lines)
        finally:
            os.close(descriptor)

    def write_picture(self, uid: str, picture: Picture) -> None:
        _replace(self._path(uid, PICTURE), msgspec.json.encode(picture))

    def remove_picture(self, uid: str) -> None:
        self._path(uid, PICTURE).unlink(missing_ok=True)

    def remove_pictures(self, here: Collection[str]) -> None:
        """Those of pods that aren't `here`, as an earlier process has left them."""
        kept = {build_stem(uid) + PICTURE for uid in here}
        for path in self._directory.glob(f"*{PICTURE}"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def write_heartbeat(self, heartbeat: Heartbeat) -> None:
        _replace(self._heartbeat, msgspec.json.encode(heartbeat))

    def prune(self, here: Collection[str]) -> None:
        """Removes what the bounds don't allow: of pods that left the longest ago first, then the old parts of
        those that are `here`.
        """
        kept = {build_stem(uid) for uid in here}
        pods = _measure(self._directory)
        gone = sorted((pod for stem, pod in pods.items() if stem not in kept), key=lambda pod: pod.newest)
        total = sum(pod.size for pod in pods.values())
        for index, pod in enumerate(gone):
            if len(gone) - index <= self._bounds.gone_pods and total <= self._bounds.total_bytes:
                break
            total -= pod.size
            for path in pod.paths:
                path.unlink(missing_ok=True)
        if total > self._bounds.total_bytes:
            self._drop_old_parts(total)

    def _drop_old_parts(self, total: int) -> None:
        for path in sorted(self._directory.glob(f"*{OLD_TIMELINE}"), key=lambda path: path.stat().st_mtime):
            if total <= self._bounds.total_bytes:
                return
            total -= path.stat().st_size
            path.unlink()

    def _path(self, uid: str, suffix: str) -> Path:
        return self._directory / (build_stem(uid) + suffix)


@dataclass(slots=True)
class _Measured:
    paths: list[Path]
    size: int = 0
    newest: float = 0.0


def _measure(directory: Path) -> dict[str, _Measured]:
    found: dict[str, _Measured] = {}
    for path, stem in list_files(directory):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            pod = found.setdefault(stem, _Measured([]))
            pod.paths.append(path)
            pod.size += status.st_size
            pod.newest = max(pod.newest, status.st_mtime)
    return found


def list_files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Every file of the journal with the stem of its pod; none while there is no journal."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is not None:
            yield path, path.name.removesuffix(suffix)


def _write_all(descriptor: int, data: bytes) -> None:
    """A full disk may take a part of it; the rest is then an error, and the line is torn."""
    while data:
        data = data[os.write(descriptor, data) :]


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)
    draft.replace(path)
