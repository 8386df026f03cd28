"""Takes a pod's volumes off the machine: unmounts what the kernel says is mounted there, then removes the
files.

IO: umount, unlink, rmdir; synchronous, called by `source` in a thread. Nothing is remembered from the time of
mounting, so it works after any crash; it never deletes across a device boundary and never follows a symlink.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.volumes.mounts import Mount, read_mounts_below, unmount

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


ReadMounts = Callable[[Path], tuple[Mount, ...]]


class TeardownBlocked(Exception):
    """Something in the pod's directory can't go yet; the sentence names it and why."""


def remove_volume_tree(directory: Path, read_mounts: ReadMounts = read_mounts_below) -> None:
    """Unmounts all at or below `directory` and removes it; absent is removed. Raises TeardownBlocked."""
    try:
        real = directory.resolve(strict=True)
    except FileNotFoundError:
        return
    _unmount_below(real, read_mounts)
    if left := read_mounts(real):
        raise TeardownBlocked(f"{left[-1].mount_point} is still mounted; unmount it to let the pod go")
    try:
        _remove_tree(real)
    except OSError as error:
        raise TeardownBlocked(f"{error.filename or real} can't be removed: {error.strerror}") from error


def _unmount_below(directory: Path, read_mounts: ReadMounts) -> None:
    # The kernel lists mounts in the order they were made; the last lies on top.
    for mount in reversed(read_mounts(directory)):
        try:
            unmount(mount.mount_point)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # gone meanwhile
                raise TeardownBlocked(f"{mount.mount_point} can't be unmounted: {error.strerror}") from error


def _remove_tree(directory: Path) -> None:
    parent = os.open(directory.parent, _DIRECTORY)
    try:
        device = os.stat(directory.name, dir_fd=parent, follow_symlinks=False).st_dev
        _remove_directory(parent, directory.name, device, directory)
    finally:
        os.close(parent)


def _remove_directory(parent: int, name: str, device: int, path: Path) -> None:
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_dev != device:
            raise TeardownBlocked(f"{path} is on another device; unmount it to let the pod go")
        with os.scandir(descriptor) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_directory in listed:
            if is_directory:
                _remove_directory(descriptor, child, device, path / child)
            else:
                os.unlink(child, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)
