"""The CRI log format and the query of /containerLogs."""

from __future__ import annotations

import pytest

from agent.server.log_lines import LogEntry, LogFormatter, parse_log_entry, parse_nanoseconds
from agent.server.log_options import BadLogOption, LogOptions, parse_log_options

_TIME = b"2026-01-02T03:04:05.123456789Z"


def _line(second: int, content: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"2026-01-02T03:04:{second:02}.000000001Z {stream} {tag} {content}".encode()


def _formatter(
    *,
    timestamps: bool = False,
    since: int | None = None,
    limit: int | None = None,
    stream: bytes | None = None,
) -> LogFormatter:
    return LogFormatter(timestamps=timestamps, since_nanoseconds=since, limit_bytes=limit, stream=stream)


def test_an_entry() -> None:
    assert parse_log_entry(_TIME + b" stderr F two  words ") == LogEntry(
        _TIME, b"stderr", False, b"two  words "
    )
    assert parse_log_entry(_TIME + b" stdout P:tag part") == LogEntry(_TIME, b"stdout", True, b"part")
    assert parse_log_entry(_TIME + b" stdout F ") == LogEntry(_TIME, b"stdout", False, b"")
    assert parse_log_entry(b"plain text") is None
    assert parse_log_entry(b"") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
    ],
)
def test_times_to_the_nanosecond(text: str, expected: int) -> None:
    assert parse_nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["", "now", "1970-01-01T00:00:01", "1970-01-01T00:00:01.5"])
def test_times_need_a_date_and_a_zone(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_nanoseconds(text)


def test_partial_lines_are_joined_and_dated_once() -> None:
    lines = [_line(1, "one ", tag="P"), _line(2, "line"), _line(3, "two")]
    assert _formatter().format(lines) == b"one line\ntwo\n"
    assert _formatter(timestamps=True).format(lines) == (
        b"2026-01-02T03:04:01.000000001Z one line\n2026-01-02T03:04:03.000000001Z two\n"
    )


def test_filters_by_time_and_stream() -> None:
    lines = [_line(1, "old"), _line(2, "err", stream="stderr"), _line(3, "new")]
    since = parse_nanoseconds("2026-01-02T03:04:02Z")
    assert _formatter(since=since).format(lines) == b"err\nnew\n"
    assert _formatter(stream=b"stderr").format(lines) == b"err\n"


def test_the_limit_counts_output_over_several_calls() -> None:
    formatter = _formatter(limit=7)
    assert formatter.format([_line(1, "abc")]) == b"abc\n"
    assert not formatter.is_full
    assert formatter.format([_line(2, "defgh")]) == b"def"
    assert formatter.is_full


def test_foreign_lines_are_left_out() -> None:
    assert _formatter().format([b"garbage", _line(1, "good")]) == b"good\n"


def test_no_options() -> None:
    assert parse_log_options({}, 0.0) == LogOptions()


def test_all_options() -> None:
    query = {
        "follow": "true",
        "previous": "1",
        "timestamps": "true",
        "tailLines": "5",
        "sinceSeconds": "10",
        "limitBytes": "100",
        "stream": "Stderr",
    }
    assert parse_log_options(query, 100.0) == LogOptions(
        follow=True,
        previous=True,
        timestamps=True,
        tail_lines=5,
        since_nanoseconds=90_000_000_000,
        limit_bytes=100,
        stream=b"stderr",
    )
    assert parse_log_options({"sinceTime": "1970-01-01T00:00:01Z"}, 0.0).since_nanoseconds == 1_000_000_000


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"tailLines": "x"},
        {"limitBytes": "0"},
        {"sinceSeconds": "0"},
        {"sinceTime": "yesterday"},
        {"sinceTime": "1970-01-01T00:00:01Z", "sinceSeconds": "1"},
        {"follow": "perhaps"},
        {"stream": "Stdin"},
    ],
)
def test_bad_options_get_a_sentence(query: dict[str, str]) -> None:
    with pytest.raises(BadLogOption, match=next(iter(query))):
        parse_log_options(query, 0.0)
