"""Which processes keep a mount busy, so that a teardown that can't go on names them.

IO: /proc, read without touching the mount itself: the kernel writes these links from memory. A bounded
search, called by `teardown` only after an EBUSY. Follows proc(5).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MAX_NAMED: Final = 3
_MAX_SECONDS: Final = 1.0
_LINKS: Final = ("cwd", "root", "exe")


def describe_holders(mount_point: Path, proc: Path = Path("/proc")) -> str:
    """Like "process 123 (sleep)", at most three of them; empty when the search found none in its time."""
    stop_at = time.monotonic() + _MAX_SECONDS
    named: list[str] = []
    for pid in _iterate_pids(proc):
        if len(named) == _MAX_NAMED or time.monotonic() > stop_at:
            break
        if _holds(proc / pid, mount_point):
            named.append(f"process {pid} ({_read_name(proc / pid)})")
    return ", ".join(named)


def _iterate_pids(proc: Path) -> Iterator[str]:
    with os.scandir(proc) as entries:
        yield from (entry.name for entry in entries if entry.name.isdecimal())


def _holds(process: Path, mount_point: Path) -> bool:
    """Files, directories and mapped files; a process in another mount namespace has mounts of its own."""
    try:
        if os.readlink(process / "ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            return False
        return any(Path(path).is_relative_to(mount_point) for path in _iterate_open(process))
    except OSError:
        return False  # it ended meanwhile


def _iterate_open(process: Path) -> Iterator[str]:
    for name in _LINKS:
        yield from _read_link(process / name)
    for descriptor in os.listdir(process / "fd"):
        yield from _read_link(process / "fd" / descriptor)
    for line in (process / "maps").read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            yield fields[5]


def _read_link(link: Path) -> Iterator[str]:
    try:
        yield os.readlink(link)
    except OSError:
        return


def _read_name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
