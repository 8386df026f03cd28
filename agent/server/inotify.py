"""Wakes a coroutine when something in a directory changes.

IO: one inotify descriptor for each watch, through libc. Called by `log_reader`; an event is a hint to look
again, its content is thrown away. Where the kernel refuses (its limit of instances is low), waits end by
their deadline alone. Follows inotify(7).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final

# modify, close after writing, moved from, moved to, create, delete
_EVENTS: Final = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200
_DRAIN_BYTES: Final = 64 * 1024


class DirectoryWatch:
    """`async with`; between two waits no event is lost."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1
        self._changed = asyncio.Event()

    async def __aenter__(self) -> DirectoryWatch:
        self._descriptor = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0:
            _libc().inotify_add_watch(self._descriptor, os.fsencode(self._directory), _EVENTS)
            asyncio.get_running_loop().add_reader(self._descriptor, self._drain)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    async def wait(self, deadline_seconds: float) -> None:
        """Returns after a change since the last wait, or when the deadline is over."""
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _drain(self) -> None:
        try:
            os.read(self._descriptor, _DRAIN_BYTES)
        except BlockingIOError:
            return
        self._changed.set()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
