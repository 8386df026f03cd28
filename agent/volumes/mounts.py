"""Mounting and unmounting through libc, and the kernel's table of mounts.

IO: system calls and /proc/self/mountinfo; synchronous, called in threads that `blocking` watches over, since
any of the calls may hang. Follows mount(2), umount2(2) and proc(5).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from agent.volumes.mount_flags import MS_BIND, MS_REC, MS_REMOUNT, MS_SHARED

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_EINVAL: Final = 22
_ESCAPES: Final = str.maketrans({character: f"\\{ord(character):03o}" for character in " \t\n\\"})


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; `device` is "major:minor"; `shared`: mounts below reach other namespaces."""

    mount_point: Path
    device: str
    filesystem: str
    shared: bool = False


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The mounts in the kernel's order: a later one may cover an earlier one."""
    mounts = []
    for line in text.splitlines():
        left, found, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if found and len(before) >= 5 and after:
            shared = any(field.startswith("shared:") for field in before[6:])
            mounts.append(Mount(Path(_unescape(before[4])), before[2], after[0], shared))
    return tuple(mounts)


def read_mounts_below(directory: Path) -> tuple[Mount, ...]:
    """The mounts at or below `directory`, in the kernel's order; no file of them is touched."""
    text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    name = _escape(str(directory))
    # A node has hundreds of mounts; only the lines that name the directory are worth parsing.
    mounts = parse_mountinfo("\n".join(line for line in text.splitlines() if name in line))
    return tuple(mount for mount in mounts if mount.mount_point.is_relative_to(directory))


def is_mounted(target: Path) -> bool:
    """Whether something is mounted right at `target`, by the kernel's table: it doesn't hang as stat may."""
    return find_mount(target) is not None


def find_mount(target: Path) -> Mount | None:
    """What lies on top at `target`, if it is a mount point."""
    return next((m for m in reversed(read_mounts_below(target)) if m.mount_point == target), None)


def describe_mount_of(path: Path) -> str:
    """Like ": /mnt/data lies on /mnt (nfs4)", from the kernel's table alone; empty for the root's own."""
    mounts = [mount for mount in read_mounts_below(Path("/")) if path.is_relative_to(mount.mount_point)]
    below = max(mounts, key=lambda mount: len(mount.mount_point.parts), default=None)
    if below is None or below.mount_point == Path("/"):
        return ""
    return f": {path} lies on {below.mount_point} ({below.filesystem})"


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


def bind_mount(source: Path, target: Path, *, flags: int = 0, recursive: bool = True) -> None:
    """Shows `source` at `target` too, which is a directory or a file as it is; a bind mount takes its flags
    only from a second call.
    """
    _mount(str(source), target, "", MS_BIND | (MS_REC if recursive else 0), "")
    if flags:
        try:
            _mount("", target, "", MS_BIND | MS_REMOUNT | flags, "")
        except OSError:
            detach(target)
            raise


def make_shared(target: Path) -> None:
    """Mounts made below `target` reach whoever has it from this namespace, and theirs reach us."""
    _mount("", target, "", MS_SHARED | MS_REC, "")


def unmount(target: Path) -> None:
    """Unmounts what is on top at `target`; raises OSError, EBUSY while it is in use."""
    _unmount(target, _UMOUNT_NOFOLLOW)


def detach(target: Path) -> None:
    """Takes what is on top at `target` out of the tree at once; who has it open keeps what they have."""
    _unmount(target, _UMOUNT_NOFOLLOW | _MNT_DETACH)


def _unmount(target: Path, flags: int) -> None:
    if _libc().umount2(os.fsencode(target), flags) != 0:
        _raise_errno(target)


def _mount(source: str, target: Path, filesystem: str, flags: int, options: str) -> None:
    arguments = (
        os.fsencode(source),
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


def _escape(path: str) -> str:
    return path.translate(_ESCAPES)


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in field:
        return field
    return os.fsdecode(field.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1"))
