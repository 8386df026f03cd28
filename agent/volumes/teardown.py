"""Takes a directory of a pod off the machine: unmounts what the kernel says is mounted there, then removes
the files.

IO: umount, unlink, rmdir; synchronous, called by `source` in a thread. Nothing is remembered from the time of
mounting, so it works after any crash, on nested and stacked mounts, and on those that somebody else made. It
never deletes across a mount and never follows a symbolic link.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.volumes.file_tree import OtherMount, remove_tree
from agent.volumes.mount_holders import describe_holders
from agent.volumes.mounts import Mount, detach, read_mounts_below, unmount

_log = logging.getLogger(__name__)

_GONE: Final = (errno.EINVAL, errno.ENOENT)
_MAX_ROUNDS: Final = 8


ReadMounts = Callable[[Path], tuple[Mount, ...]]


class TeardownBlocked(Exception):
    """Something in the directory can't go yet; the sentence names it and why."""


class MountBusy(TeardownBlocked):
    """A mount is in use; the sentence names it and who holds it."""


def remove_volume_tree(
    directory: Path, *, force: bool = False, read_mounts: ReadMounts = read_mounts_below
) -> None:
    """Unmounts all at or below `directory` and removes it; absent is removed. Raises TeardownBlocked.

    With `force`, a mount that is busy is taken out of the tree all the same: whoever holds it keeps what they
    have open, and the pod's directory is free. Without it, that is a MountBusy.
    """
    real = directory.parent.resolve() / directory.name
    _unmount_below(real, force, read_mounts)
    try:
        remove_tree(real)
    except OtherMount as error:
        raise TeardownBlocked(str(error)) from error
    except OSError as error:
        raise TeardownBlocked(f"{error.filename or real} can't be removed: {error.strerror}") from error


def _unmount_below(directory: Path, force: bool, read_mounts: ReadMounts) -> None:
    """In rounds, as unmounting may uncover what lay below or be answered by mounts from elsewhere."""
    mounts: tuple[Mount, ...] = ()
    for _ in range(_MAX_ROUNDS):
        mounts = read_mounts(directory)
        if not mounts:
            return
        # The kernel lists mounts in the order they were made; the last lies on top.
        for mount in reversed(mounts):
            _unmount_one(mount.mount_point, force)
    raise TeardownBlocked(f"{mounts[-1].mount_point} is mounted again and again; end what mounts it")


def _unmount_one(mount_point: Path, force: bool) -> None:
    try:
        unmount(mount_point)
    except OSError as error:
        if error.errno in _GONE:
            return
        if error.errno != errno.EBUSY:
            raise TeardownBlocked(f"{mount_point} can't be unmounted: {error.strerror}") from error
        holders = describe_holders(mount_point) or "nobody that could be found"
        if not force:
            raise MountBusy(f"{mount_point} can't be unmounted: it is in use by {holders}") from error
        _log.warning(
            "a mount stays in use and is taken out of the tree",
            extra={"mount": str(mount_point), "by": holders},
        )
        detach(mount_point)
