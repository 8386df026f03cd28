"""One client's watch: which changes concern it, as what type of event, how many may wait for a slow reader.

Does no IO. The cache offers every change of a kind; the HTTP layer takes frames and writes them. A change
that moves an object into or out of a selection is an addition or a deletion to whoever watches that
selection. The frame of a change is encoded once however many watch. Follows "Efficient detection of
changes" in the API concepts page.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from controlplane.apiserver.documents import encode_json, restamp_version
from kubeapi.selectors import EVERYTHING, FieldRequirement, Selector, matches_fields

MAXIMUM_PENDING_EVENTS: Final = 10_000
"""A reader this far behind is cut off: it resumes from the last version it saw, or lists again."""

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, eq=False)
class CachedObject:
    """An object as it is served, and what selectors ask about it."""

    key: str
    namespace: str
    name: str
    revision: int
    body: bytes = field(repr=False)
    labels: Mapping[str, str]
    fields: Mapping[str, str]


@dataclass(slots=True, eq=False)
class ObjectChange:
    """One change: no `old` is a creation, no `new` is a removal."""

    revision: int
    old: CachedObject | None
    new: CachedObject | None
    frames: dict[EventType, bytes] = field(default_factory=dict, repr=False)

    def body(self, event_type: EventType) -> bytes:
        """The object that an event of this type carries; one that left shows its last state."""
        if event_type is EventType.DELETED or self.new is None:
            assert self.old is not None
            return restamp_version(self.old.body, self.revision)
        return self.new.body

    def frame(self, event_type: EventType) -> bytes:
        frame = self.frames.get(event_type)
        if frame is None:
            frame = self.frames[event_type] = build_frame(event_type, self.body(event_type))
        return frame


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind a request is about."""

    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: tuple[FieldRequirement, ...] = ()

    def matches(self, cached: CachedObject) -> bool:
        return (
            (not self.namespace or cached.namespace == self.namespace)
            and self.labels.matches(cached.labels)
            and matches_fields(self.fields, cached.fields)
        )


def choose_event_type(change: ObjectChange, selection: Selection) -> EventType | None:
    """What the change means to somebody who watches `selection`; None if nothing."""
    was_in = change.old is not None and selection.matches(change.old)
    is_in = change.new is not None and selection.matches(change.new)
    match was_in, is_in:
        case False, True:
            return EventType.ADDED
        case True, True:
            return EventType.MODIFIED
        case True, False:
            return EventType.DELETED
        case _:
            return None


def build_frame(event_type: EventType, body: bytes) -> bytes:
    """One line of a watch response."""
    return b'{"type":"%s","object":%s}\n' % (event_type.value.encode(), body)


def build_bookmark(kind: str, api_version: str, revision: int, *, ends_initial_events: bool = False) -> bytes:
    """The object of a bookmark: only a version to resume from."""
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if ends_initial_events:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return encode_json({"kind": kind, "apiVersion": api_version, "metadata": metadata})


Render = Callable[[EventType, ObjectChange], bytes]
"""From an event to the line that is sent; `render_frame` unless the client asked for another form."""


def render_frame(event_type: EventType, change: ObjectChange) -> bytes:
    return change.frame(event_type)


class Watcher:
    """The events that one watch has yet to send."""

    def __init__(self, selection: Selection, render: Render = render_frame) -> None:
        self._selection = selection
        self._render = render
        self._pending: deque[tuple[EventType, ObjectChange]] = deque()
        self._wake = asyncio.Event()
        self.closed = False

    def offer(self, change: ObjectChange) -> None:
        """Called for every change of the kind, in order."""
        if self.closed:
            return
        event_type = choose_event_type(change, self._selection)
        if event_type is None:
            return
        self._pending.append((event_type, change))
        if len(self._pending) > MAXIMUM_PENDING_EVENTS:
            self.close()
        self._wake.set()

    def close(self) -> None:
        """End the watch after what is pending."""
        self.closed = True
        self._wake.set()

    async def next_frames(self, timeout_seconds: float) -> Sequence[bytes]:
        """The frames that wait, or the next ones; empty at the timeout and once closed."""
        if not self._pending and not self.closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._wake.wait()
            except TimeoutError:
                return ()
        taken = [self._render(event_type, change) for event_type, change in self._pending]
        self._pending.clear()
        return taken
