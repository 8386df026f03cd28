"""Logging of the long-running commands: one line an event on standard error, fields behind the sentence.

Called once by each process's command. Text on a terminal, one JSON object a line elsewhere (journald, files).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

LOG_LEVEL: Final = click.Choice(["debug", "info", "warning", "error"])

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def read_fields(record: logging.LogRecord) -> dict[str, str]:
    """The `extra` fields of a record, as text."""
    return {key: str(value) for key, value in vars(record).items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """`12:00:01.123 INFO  pod started  pod=web-1 namespace=default`."""

    def format(self, record: logging.LogRecord) -> str:
        instant = datetime.fromtimestamp(record.created, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in read_fields(record).items())
        line = f"{instant} {record.levelname:<7} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **read_fields(record),
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document).decode()


def start_logging(level: str) -> None:
    """Sends every log record of at least `level` to standard error."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(TextFormatter() if sys.stderr.isatty() else JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
