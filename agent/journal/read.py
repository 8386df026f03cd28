"""Reads the journal back: which pods it knows, and what it knows of one.

IO, synchronous, read-only; needs neither the agent nor an API server. Called by the command line. Lines that
can't be read, as the last one after a sudden death, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.errors import AgentError
from agent.journal.entry import Entry, Heartbeat, Picture, PodName
from agent.journal.files import (
    OLD_TIMELINE,
    PICTURE,
    TIMELINE,
    build_directory,
    build_heartbeat_path,
    list_files,
)

ReadT = TypeVar("ReadT")


class JournalUnreadable(AgentError):
    """The journal isn't there or can't be opened; the text says what to do."""


@dataclass(frozen=True, slots=True)
class PodStory:
    """All that is known of one pod; entries oldest first. `picture` is None once the pod is gone.

    `cut`: older entries are gone, for there were too many.
    """

    pod: PodName
    entries: tuple[Entry, ...]
    picture: Picture | None
    cut: bool = False

    @property
    def last_at(self) -> float:
        return max((entry.at for entry in self.entries), default=0.0)


def read_heartbeat(root_dir: Path) -> Heartbeat | None:
    """The agent's last sign of life; None when it never gave one."""
    try:
        return _decode(build_heartbeat_path(root_dir).read_bytes(), Heartbeat)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(root_dir, error) from error


def read_pod_names(root_dir: Path) -> tuple[PodName, ...]:
    """Every pod that the journal knows; raises JournalUnreadable."""
    directory = build_directory(root_dir)
    try:
        found = [_read_name(path) for path, _ in list_files(directory) if _is_timeline(path)]
    except OSError as error:
        raise _unreadable(root_dir, error) from error
    return tuple(dict.fromkeys(name for name in found if name is not None))


def read_story(root_dir: Path, pod: PodName, stem: str) -> PodStory:
    """Everything about one pod; `stem` is `files.build_stem` of its uid. Raises JournalUnreadable."""
    directory = build_directory(root_dir)
    try:
        old, new = _read_lines(directory / (stem + OLD_TIMELINE)), _read_lines(directory / (stem + TIMELINE))
        picture = directory / (stem + PICTURE)
        shown = _decode(picture.read_bytes(), Picture) if picture.exists() else None
    except OSError as error:
        raise _unreadable(root_dir, error) from error
    entries = (*(old or ()), *(new or ()))
    began = any(entry.what == "seen" for entry in entries)
    return PodStory(pod, tuple(sorted(entries, key=lambda entry: entry.at)), shown, cut=not began)


def _is_timeline(path: Path) -> bool:
    return path.name.endswith(TIMELINE)


def _read_name(path: Path) -> PodName | None:
    with path.open("rb") as file:
        return _decode(file.readline(), PodName)


def _read_lines(path: Path) -> tuple[Entry, ...] | None:
    if not path.exists():
        return None
    found = (_decode(line, Entry) for line in path.read_bytes().split(b"\n")[1:])
    return tuple(entry for entry in found if entry is not None)


def _decode(data: bytes, kind: type[ReadT]) -> ReadT | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None


def _unreadable(root_dir: Path, error: OSError) -> JournalUnreadable:
    return JournalUnreadable(
        f"the journal below {root_dir} can't be read ({error.strerror}); it belongs to root: use sudo"
    )
