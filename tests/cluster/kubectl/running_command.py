"""A command that goes on while the test does: its output read as it comes, from pipes or its own terminal.

Subprocess IO with a bound on every wait. Used where a person would have a second window open.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

WAIT_SECONDS = 20.0
_CHUNK_BYTES = 65536


@dataclass(slots=True)
class RunningCommand:
    """`output` is all that came so far; what a `read_until` has passed, the next one doesn't see again."""

    process: subprocess.Popen[bytes]
    reader: int
    writer: int
    output: str = ""
    _seen: int = 0

    def read_until(self, pattern: str) -> re.Match[str]:
        """Waits for new output that matches the regular expression; AssertionError when none comes."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = re.search(pattern, self.output[self._seen :])
            if found is not None:
                self._seen += found.end()
                return found
            assert self._read_more(deadline), f"{pattern!r} did not come, but {self.output!r}"

    def write(self, text: str) -> None:
        os.write(self.writer, text.encode())

    def wait(self) -> int:
        """The exit code, once all output is read; AssertionError when the command goes on."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._read_more(deadline):
            pass
        assert time.monotonic() < deadline, f"it does not end; so far: {self.output!r}"
        return self.process.wait(WAIT_SECONDS)

    def end_input(self) -> None:
        """Only on pipes: standard input is at its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        """Only on a terminal; whoever runs on it is told."""
        fcntl.ioctl(self.writer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read_more(self, deadline: float) -> bool:
        """False at the end of the output, or of the time."""
        ready, _, _ = select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.reader, _CHUNK_BYTES)
        except OSError:
            return False  # a terminal whose other side is closed says EIO
        self.output += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def running(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[RunningCommand]:
    """On pipes, standard output and error in one; killed when the block ends."""
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield RunningCommand(process, process.stdout.fileno(), process.stdin.fileno())
    finally:
        _end(process)
        process.stdin.close()
        process.stdout.close()


@contextmanager
def running_on_terminal(
    argv: Sequence[str], environment: Mapping[str, str], rows: int, columns: int
) -> Iterator[RunningCommand]:
    """In a session of its own, whose terminal the test holds the other end of."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=_take_terminal
        )
    finally:
        os.close(theirs)
    command = RunningCommand(process, ours, ours)
    command.resize(rows, columns)
    try:
        yield command
    finally:
        _end(process)
        os.close(ours)


def _take_terminal() -> None:
    """In the child: a new session with standard input as its terminal, so that resizes are signalled."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(WAIT_SECONDS)
