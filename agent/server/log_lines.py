"""The log format of CRI: one line of a file into time, stream and content, and back into what a reader sees.

Pure. Called by `log_reader`. Follows the "CRI logging" design of the kubelet: `TIME STREAM TAGS CONTENT`,
where a tag P marks a part whose line goes on in the next entry of the same stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """`content` without the newline that the format adds; `time_text` as it was written."""

    time_text: bytes
    stream: bytes
    is_partial: bool
    content: bytes


def parse_log_entry(line: bytes) -> LogEntry | None:
    """The entry of one line without its newline, or None for a line in another format."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    content = parts[3] if len(parts) == 4 else b""
    return LogEntry(parts[0], parts[1], parts[2].split(b":", 1)[0] == b"P", content)


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time with up to nine decimals; raises ValueError."""
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    zone = tail[len(digits) :] if dot else ""
    instant = datetime.fromisoformat(head + zone)
    if instant.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone")
    whole = int(instant.astimezone(UTC).timestamp())
    return whole * _SECOND + int(digits[:9].ljust(9, "0") or "0")


class LogFormatter:
    """Turns entries into output: filters by time and stream, adds timestamps, joins partial lines, stops at a
    limit.
    """

    def __init__(
        self,
        *,
        timestamps: bool,
        since_nanoseconds: int | None,
        limit_bytes: int | None,
        stream: bytes | None,
    ) -> None:
        self._timestamps = timestamps
        self._since = since_nanoseconds
        self._left = limit_bytes
        self._stream = stream
        self._inside: set[bytes] = set()

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached: nothing more will come out."""
        return self._left is not None and self._left <= 0

    def format(self, lines: list[bytes]) -> bytes:
        """The output of these lines of a log file, in their order."""
        output = b"".join(self._format_line(line) for line in lines)
        if self._left is not None:
            output = output[: max(self._left, 0)]
            self._left -= len(output)
        return output

    def _format_line(self, line: bytes) -> bytes:
        entry = parse_log_entry(line)
        if (
            entry is None
            or (self._stream is not None and entry.stream != self._stream)
            or self._is_too_old(entry)
        ):
            return b""
        prefix = entry.time_text + b" " if self._timestamps and entry.stream not in self._inside else b""
        if entry.is_partial:
            self._inside.add(entry.stream)
            return prefix + entry.content
        self._inside.discard(entry.stream)
        return prefix + entry.content + b"\n"

    def _is_too_old(self, entry: LogEntry) -> bool:
        if self._since is None:
            return False
        try:
            return parse_nanoseconds(entry.time_text.decode("ascii", "replace")) < self._since
        except ValueError:
            return False
