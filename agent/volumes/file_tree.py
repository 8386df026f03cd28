"""Removes a directory with all that is in it, and nothing that only seems to be in it.

IO: openat, unlinkat, rmdir; synchronous, called by `teardown`. Walks by descriptors: never follows a symbolic
link, never enters another mount, not even one of the same device, and copes with any depth, as a container
may have made it.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 64
_LIFTED: Final = ".berth-removing-"


class OtherMount(Exception):
    """A directory of the tree is a mount of its own; the sentence names it."""


def remove_tree(directory: Path) -> None:
    """Removes `directory` with its contents; absent is removed. Raises OtherMount, OSError."""
    try:
        parent = os.open(directory.parent, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if _is_directory(parent, directory.name):
            _remove_top(parent, directory)
        else:
            _unlink(parent, directory.name)
    finally:
        os.close(parent)


@dataclass(slots=True)
class _Walk:
    """One removal: its top directory, the mount it stays in, and how many branches were lifted to the top."""

    top: int
    mount: str
    lifted: int = 0


def _remove_top(parent: int, directory: Path) -> None:
    top = os.open(directory.name, _DIRECTORY, dir_fd=parent)
    try:
        walk = _Walk(top, _read_mount_id(top))
        if walk.mount != _read_mount_id(parent):
            raise OtherMount(f"{directory} is a mount of its own; unmount it to let the pod go")
        while _empty_directory(walk, top, directory, 0):
            pass  # branches that were too deep now lie at the top
    finally:
        os.close(top)
    os.rmdir(directory.name, dir_fd=parent)


def _empty_directory(walk: _Walk, directory: int, path: Path, depth: int) -> bool:
    """Removes what is in it; True if something was lifted to the top and is still to be removed."""
    before = walk.lifted
    with os.scandir(directory) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in listed:
        if not is_directory:
            _unlink(directory, name)
        elif depth < _MAX_DEPTH:
            _remove_child(walk, directory, name, path / name, depth + 1)
        else:
            os.rename(name, _LIFTED + secrets.token_hex(8), src_dir_fd=directory, dst_dir_fd=walk.top)
            walk.lifted += 1
    return walk.lifted != before


def _remove_child(walk: _Walk, parent: int, name: str, path: Path, depth: int) -> None:
    child = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        if _read_mount_id(child) != walk.mount:
            raise OtherMount(f"{path} is a mount of its own; unmount it to let the pod go")
        _empty_directory(walk, child, path, depth)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=parent)


def _is_directory(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlink(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _read_mount_id(descriptor: int) -> str:
    """The device number alone would miss a bind mount of the same file system."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return value.strip()
    raise OSError(f"the kernel names no mount of the descriptor {descriptor}")
