"""A watch's answer as events: lines of JSON, cut from chunks that end anywhere, decoded to typed views.

Pure. Fed by `kubeapi.client`. Follows "Efficient detection of changes" in the Kubernetes API concepts: one
JSON document per line, with a type and an object; BOOKMARK carries only a resource version, ERROR carries a
Status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic

import msgspec

from kubeapi.codec import Decoder
from kubeapi.errors import ApiStatusError, MalformedAnswer
from kubeapi.resources import ViewT
from kubeapi.status import parse_status

MAXIMUM_EVENT_BYTES: Final = 16 * 1024 * 1024


class WatchEventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[ViewT]):
    """One event; of a BOOKMARK's object only `metadata.resource_version` means something."""

    type: WatchEventType
    object: ViewT


class _Frame(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_FRAME_DECODER: Final = msgspec.json.Decoder(_Frame)


class LineSplitter:
    """Cuts a stream of chunks into lines, looking at every byte once; a line has an upper bound."""

    def __init__(self, maximum_bytes: int = MAXIMUM_EVENT_BYTES) -> None:
        self._maximum_bytes = maximum_bytes
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their line feed and without empty ones."""
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            whole = bytes(self._partial) + line if self._partial else line
            self._partial.clear()
            if whole:
                yield whole
        self._partial += rest
        if len(self._partial) > self._maximum_bytes:
            raise MalformedAnswer(f"a watch event is larger than {self._maximum_bytes} bytes")


def parse_watch_event(line: bytes, decoder: Decoder[ViewT]) -> WatchEvent[ViewT]:
    """The event of one line; an ERROR event is raised as ApiStatusError (410: list again)."""
    try:
        frame = _FRAME_DECODER.decode(line)
        if frame.type == "ERROR":
            raise _error_of(bytes(frame.object))
        return WatchEvent(WatchEventType(frame.type), decoder.decode(frame.object))
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedAnswer(f"a watch event cannot be read: {error}") from error


def _error_of(document: bytes) -> ApiStatusError:
    status = parse_status(document, 500)
    return ApiStatusError(status.code, status.reason, status.message)
