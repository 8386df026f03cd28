"""The query of /containerLogs, checked.

Pure: the time of now arrives as an argument. Called by `logs`. Follows PodLogOptions in the API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.server.log_lines import parse_nanoseconds

_SECOND: Final = 1_000_000_000
_STREAMS: Final[Mapping[str, bytes | None]] = {
    "": None,
    "All": None,
    "Stdout": b"stdout",
    "Stderr": b"stderr",
}


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_nanoseconds: int | None = None
    limit_bytes: int | None = None
    stream: bytes | None = None


class BadLogOption(Exception):
    """One sentence that names the option and what it takes."""


def parse_log_options(query: Mapping[str, str], now_seconds: float) -> LogOptions:
    """The options; raises BadLogOption."""
    if "sinceSeconds" in query and "sinceTime" in query:
        raise BadLogOption("at most one of `sinceTime` or `sinceSeconds` may be specified")
    stream = query.get("stream", "")
    if stream not in _STREAMS:
        raise BadLogOption(f"stream {stream!r} is unknown; use All, Stdout or Stderr")
    return LogOptions(
        follow=_parse_bool(query, "follow"),
        previous=_parse_bool(query, "previous"),
        timestamps=_parse_bool(query, "timestamps"),
        tail_lines=_parse_int(query, "tailLines", 0),
        since_nanoseconds=_parse_since(query, now_seconds),
        limit_bytes=_parse_int(query, "limitBytes", 1),
        stream=_STREAMS[stream],
    )


def _parse_since(query: Mapping[str, str], now_seconds: float) -> int | None:
    seconds = _parse_int(query, "sinceSeconds", 1)
    if seconds is not None:
        return int((now_seconds - seconds) * _SECOND)
    if "sinceTime" not in query:
        return None
    try:
        return parse_nanoseconds(query["sinceTime"])
    except ValueError as error:
        raise BadLogOption(f"sinceTime {query['sinceTime']!r} is not an RFC 3339 time") from error


def _parse_bool(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text in ("true", "1", "t"):
        return True
    if text in ("false", "0", "f", ""):
        return False
    raise BadLogOption(f"{name} {query[name]!r} is neither true nor false")


def _parse_int(query: Mapping[str, str], name: str, minimum: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError as error:
        raise BadLogOption(f"{name} {text!r} is not a whole number") from error
    if number < minimum:
        raise BadLogOption(f"{name} must be at least {minimum}")
    return number
