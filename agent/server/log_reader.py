"""Reads a container's log file, and follows it through rotation until the container has ended.

IO: the file and its rotated siblings, read in threads; an inotify watch of their directory while following.
Called by `logs`. The open file is followed by its inode: after a rotation it is read to its end before the
next one is begun, so that no line is lost or doubled. Rotated files are named `<path>.<time>`, as the kubelet
names them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Final

from agent.server.inotify import DirectoryWatch
from agent.server.log_lines import LogFormatter
from agent.server.log_options import LogOptions

_CHUNK_BYTES: Final = 256 * 1024
_LOOK_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 5.0  # for a runtime that never closes a rotated file
_COMPRESSED: Final = ".gz"
_TEMPORARY: Final = ".tmp"


async def read_log(path: Path, options: LogOptions, is_running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log as the options ask for it, in pieces; while following, until the container ended. Raises
    OSError.
    """
    formatter = LogFormatter(
        timestamps=options.timestamps,
        since_nanoseconds=options.since_nanoseconds,
        limit_bytes=options.limit_bytes,
        stream=options.stream,
    )
    async with DirectoryWatch(path.parent) as watch:
        async for lines in _read_lines(path, options, is_running, watch):
            if output := formatter.format(lines):
                yield output
            if formatter.is_full:
                return


async def _read_lines(
    path: Path, options: LogOptions, is_running: Callable[[], bool], watch: DirectoryWatch
) -> AsyncIterator[list[bytes]]:
    log = await asyncio.to_thread(_OpenLog.open, path, options.tail_lines)
    try:
        while True:
            # Asked before reading: what a container wrote before its end is there once it has ended.
            running = options.follow and is_running()
            if lines := await asyncio.to_thread(log.read_lines):
                yield lines
                continue
            if await asyncio.to_thread(log.advance, path):
                continue
            if not running:
                if rest := log.take_unfinished():
                    yield [rest]
                return
            await watch.wait(_LOOK_SECONDS)
    finally:
        log.close()


class _OpenLog:
    """One open log file and the piece of a line that its writer hasn't finished. Synchronous."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unfinished = b""
        self._leaving_since: float | None = None

    @classmethod
    def open(cls, path: Path, tail_lines: int | None) -> _OpenLog:
        file = path.open("rb", buffering=0)
        if tail_lines is not None:
            file.seek(find_tail(file, tail_lines))
        return cls(file)

    def read_lines(self) -> list[bytes]:
        """The next whole lines, without their newlines; none at the file's present end."""
        while chunk := self._file.read(_CHUNK_BYTES):
            *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
            if lines:
                return lines
        return []

    def advance(self, path: Path) -> bool:
        """Goes on with the file after this one, if there is one; True also if this one grew meanwhile."""
        following = find_next_file(path, os.fstat(self._file.fileno()).st_ino)
        if following is None:
            return False
        if self._is_still_written():
            following.close()
            return False
        if self._file.tell() < os.fstat(self._file.fileno()).st_size:
            following.close()
            return True
        self._file.close()
        self._file = following
        self._leaving_since = None
        return True

    def _is_still_written(self) -> bool:
        """Whether the runtime, which has begun the next file, is still at its last lines for this one."""
        now = time.monotonic()
        if self._leaving_since is None:
            self._leaving_since = now
        return now - self._leaving_since < _LEAVE_SECONDS and is_open_for_writing(self._file)

    def take_unfinished(self) -> bytes:
        rest, self._unfinished = self._unfinished, b""
        return rest

    def close(self) -> None:
        self._file.close()


def is_open_for_writing(file: BinaryIO) -> bool:
    """Whether any process has the file open for writing; False also where the file system can't tell.

    A read lease is granted only when nobody has (fcntl(2), F_SETLEASE).
    """
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def find_tail(file: BinaryIO, lines: int) -> int:
    """The offset where the last `lines` lines of the file begin."""
    end = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    position, wanted = end, lines
    if end and _read_at(file, end - 1, 1) != b"\n":
        wanted -= 1  # a last line without its newline is a line
    while position > 0:
        start = max(position - _CHUNK_BYTES, 0)
        block = _read_at(file, start, position - start)
        found = block.count(b"\n")
        if found > wanted:
            return start + _index_from_end(block, wanted + 1) + 1
        wanted -= found
        position = start
    return 0


def find_next_file(path: Path, inode: int) -> BinaryIO | None:
    """The log file after the one with this inode, opened; None while that one is the newest."""
    files = [*list_rotated(path), path]
    inodes = [_read_inode(each) for each in files]
    if inode in inodes:
        position = inodes.index(inode) + 1
        if position == len(files):
            return None
    else:
        # Removed meanwhile: the oldest that is left is the next.
        position = 0
    for each in files[position:]:
        try:
            return each.open("rb", buffering=0)
        except FileNotFoundError:
            continue
    return None


def list_rotated(path: Path) -> list[Path]:
    """The rotated siblings that can be read as they are, oldest first."""
    siblings = path.parent.glob(f"{path.name}.*")
    return sorted(each for each in siblings if each.suffix not in (_COMPRESSED, _TEMPORARY))


def _read_inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _index_from_end(block: bytes, count: int) -> int:
    """The index of the newline that is the `count`th from the end."""
    index = len(block)
    for _ in range(count):
        index = block.rindex(b"\n", 0, index)
    return index
