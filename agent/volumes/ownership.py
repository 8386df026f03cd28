"""Gives a volume's files to the pod's fsGroup.

IO: walks the volume's tree, changing group and mode; synchronous, called by `apply` in a thread. Only for the
kinds of volumes that other pods may have filled before (`local` persistent volumes): what is made for the pod
alone has its group from the start. Follows fsGroup and fsGroupChangePolicy of the PodSecurityContext.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

ON_ROOT_MISMATCH: Final = "OnRootMismatch"

_READ_WRITE: Final = 0o660
_DIRECTORY_BITS: Final = stat.S_ISGID | 0o110
_ENTRY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def apply_group(directory: Path, group_id: int, policy: str) -> bool:
    """Makes all below `directory` the group's, to read and write; True if it walked. Raises OSError.

    Its top is done last: with OnRootMismatch a walk that was interrupted is done again.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(top)
        if policy == ON_ROOT_MISMATCH and _is_the_groups(status, group_id):
            return False
        _walk(top, group_id)
        _give(f"/proc/self/fd/{top}", status, group_id)
    finally:
        os.close(top)
    return True


def _is_the_groups(status: os.stat_result, group_id: int) -> bool:
    wanted = _READ_WRITE | _DIRECTORY_BITS
    return status.st_gid == group_id and status.st_mode & wanted == wanted


def _walk(top: int, group_id: int) -> None:
    """Without recursion: another pod may have made the tree deeper than Python's stack."""
    stack = [(os.dup(top), os.listdir(top))]
    try:
        while stack:
            directory, names = stack[-1]
            if not names:
                os.close(stack.pop()[0])
                continue
            child = _take(directory, names.pop(), group_id)
            if child is not None:
                stack.append((child, os.listdir(child)))
    finally:
        for directory, _ in stack:
            os.close(directory)


def _take(directory: int, name: str, group_id: int) -> int | None:
    """Gives the entry of that name to the group; the descriptor of a directory."""
    try:
        entry = os.open(name, _ENTRY, dir_fd=directory)
    except FileNotFoundError:
        return None  # another pod of the volume removed it
    try:
        status = os.fstat(entry)
        # By its descriptor: nobody can put a link in its place meanwhile.
        _give(f"/proc/self/fd/{entry}", status, group_id)
        return os.open(".", _DIRECTORY, dir_fd=entry) if stat.S_ISDIR(status.st_mode) else None
    finally:
        os.close(entry)


def _give(path: str, status: os.stat_result, group_id: int) -> None:
    """The mode of a symbolic link means nothing, and its target isn't ours to change."""
    if stat.S_ISLNK(status.st_mode):
        return
    mask = _READ_WRITE | (_DIRECTORY_BITS if stat.S_ISDIR(status.st_mode) else 0)
    if status.st_gid != group_id:
        os.chown(path, -1, group_id)
    if status.st_mode & mask != mask or status.st_gid != group_id:
        os.chmod(path, status.st_mode & 0o7777 | mask)
