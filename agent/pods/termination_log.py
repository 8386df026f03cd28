"""What a container said last: its termination message file, or the tail of its log.

IO: reads a few kilobytes of two local files. Called by `observe` once for each container that exited. Follows
the "Determine the Reason for Pod Failure" page: at most 4096 bytes of the file; of the log, for failures with
the fallback policy, at most 80 lines or 2048 bytes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.pods.observed import TERMINATION_FILE_ANNOTATION, TERMINATION_POLICY_ANNOTATION
from agent.runtime.values import RuntimeContainerStatus

_MAX_FILE_BYTES: Final = 4096
_MAX_LOG_BYTES: Final = 2048
_MAX_LOG_LINES: Final = 80
_TAIL_BYTES: Final = 64 * 1024  # runtimes cut lines at 16 KiB


def read_termination_message(annotations: Mapping[str, str], status: RuntimeContainerStatus) -> str:
    """The message, or empty."""
    path = annotations.get(TERMINATION_FILE_ANNOTATION, "")
    message = _read_tail(Path(path), _MAX_FILE_BYTES) if path else ""
    fallback = annotations.get(TERMINATION_POLICY_ANNOTATION) == "FallbackToLogsOnError"
    if message or not fallback or status.exit_code == 0 or not status.log_path:
        return message
    return parse_log_tail(_read_tail(Path(status.log_path), _TAIL_BYTES))


def parse_log_tail(text: str) -> str:
    """The last lines of a CRI log, without its time, stream and tag columns."""
    lines = deque(_iterate_messages(text), maxlen=_MAX_LOG_LINES)
    return "".join(lines).encode()[-_MAX_LOG_BYTES:].decode(errors="ignore")


def _iterate_messages(text: str) -> Iterator[str]:
    for line in text.splitlines():
        match line.split(" ", 3):
            case [_, "stdout" | "stderr", tag, message]:
                yield message if tag.startswith("P") else message + "\n"


def _read_tail(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - limit, 0))
            return file.read(limit).decode(errors="replace")
    except OSError:
        return ""
