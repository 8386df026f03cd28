"""Mounting and unmounting through libc, and the kernel's table of mounts.

IO: two system calls and /proc/self/mountinfo; synchronous, called in threads that `blocking` watches over,
since either call may hang. Follows mount(2), umount2(2) and proc(5).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
_UMOUNT_NOFOLLOW: Final = 8
_EINVAL: Final = 22


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; `device` is "major:minor"."""

    mount_point: Path
    device: str
    filesystem: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The mounts in the kernel's order: a later one may cover an earlier one."""
    mounts = []
    for line in text.splitlines():
        left, found, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if found and len(before) >= 5 and after:
            mounts.append(Mount(Path(_unescape(before[4])), before[2], after[0]))
    return tuple(mounts)


def read_mounts_below(directory: Path) -> tuple[Mount, ...]:
    """The mounts at or below `directory`, in the kernel's order; no file of them is touched."""
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return tuple(mount for mount in mounts if mount.mount_point.is_relative_to(directory))


def mount_tmpfs(target: Path, *, size_bytes: int | None = None, mode: int = 0o777, flags: int = 0) -> None:
    """Mounts a tmpfs that the kernel never swaps out, where it knows how; raises OSError."""
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes is not None else "")
    try:
        _mount("tmpfs", target, "tmpfs", flags, f"{options},noswap")
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        # Linux before 6.4 has no noswap.
        _mount("tmpfs", target, "tmpfs", flags, options)


def unmount(target: Path) -> None:
    """Unmounts what is on top at `target`; raises OSError, EBUSY while it is in use."""
    if _libc().umount2(os.fsencode(target), _UMOUNT_NOFOLLOW) != 0:
        _raise_errno(target)


def _mount(source: str, target: Path, filesystem: str, flags: int, options: str) -> None:
    arguments = (
        source.encode(),
        os.fsencode(target),
        filesystem.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    if _libc().mount(*arguments) != 0:
        _raise_errno(target)


def _raise_errno(target: Path) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), str(target))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in field:
        return field
    return os.fsdecode(field.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1"))
