"""A file system that never answers, as a network mount whose server is gone: for tests of what must go on.

IO: mounts FUSE and holds its device without ever reading from it, so each look at the mount waits, killable
but for ever. Used by tests and benches; needs root and /dev/fuse. Follows fuse(4) and the kernel's fuse.rst.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

_DEVICE = "/dev/fuse"
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


class HangingMount:
    """`release` ends the hang: whoever waits gets an error then, as from a server that is given up."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Idempotent; what is mounted stays, and fails at once instead of hanging."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def hanging_mount(path: Path) -> Iterator[HangingMount]:
    """Mounts it on the directory `path` for the block; raises LabError where there is no FUSE."""
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"{_DEVICE} can't be opened: {error.strerror}; load the fuse module") from error
    mount = HangingMount(path, descriptor)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0"
    try:
        if libc.mount(b"hangs", os.fsencode(path), b"fuse", ctypes.c_ulong(0), options.encode()) != 0:
            raise LabError(f"FUSE can't be mounted on {path}: {os.strerror(ctypes.get_errno())}")
        try:
            yield mount
        finally:
            mount.release()
            libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)
    finally:
        mount.release()
