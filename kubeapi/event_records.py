"""Core/v1 Events as documents: a first occurrence is created, a repetition raises the count of the one that
is there.

Pure. Called by `kubeapi.events`. Follows the Event page of the Kubernetes API reference; two occurrences are
the same when object, source, type, reason and message are.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from kubeapi.core import Event, EventSource, ObjectReference
from kubeapi.meta import Object, ObjectMeta, format_time
from kubeapi.resources import Resource, ViewT

MESSAGE_LIMIT: Final = 1024
"""The API refuses longer messages."""


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened to `regarding`, at `when`; `unique` tells it from all others."""

    regarding: ObjectReference
    type: EventType
    reason: str
    message: str
    when: datetime
    unique: int


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An Event that the API server holds, as far as a repetition must know it."""

    name: str
    namespace: str
    count: int


def build_reference(resource: Resource[ViewT], about: Object, field_path: str = "") -> ObjectReference:
    """The reference to an object; `field_path` names a part, such as `spec.containers{web}`."""
    return ObjectReference(
        kind=resource.kind,
        namespace=about.metadata.namespace,
        name=about.metadata.name,
        uid=about.metadata.uid,
        api_version=resource.api_version,
        resource_version=about.metadata.resource_version,
        field_path=field_path,
    )


def build_event(occurrence: Occurrence, source: EventSource) -> Event:
    """The Event of a first occurrence; writing it again gives the same name."""
    when = format_time(occurrence.when)
    regarding = occurrence.regarding
    return Event(
        api_version="v1",
        kind="Event",
        metadata=ObjectMeta(
            name=f"{regarding.name}.{occurrence.unique:016x}", namespace=choose_namespace(regarding)
        ),
        involved_object=regarding,
        reason=occurrence.reason,
        message=occurrence.message[:MESSAGE_LIMIT],
        source=source,
        first_timestamp=when,
        last_timestamp=when,
        count=1,
        type=occurrence.type.value,
        reporting_component=source.component,
        reporting_instance=source.host,
    )


def build_repetition(recorded: RecordedEvent, occurrence: Occurrence) -> dict[str, object]:
    """The merge patch that counts one more occurrence."""
    return {"count": recorded.count + 1, "lastTimestamp": format_time(occurrence.when)}


def choose_namespace(regarding: ObjectReference) -> str:
    """Events on cluster-scoped objects live in the namespace `default`."""
    return regarding.namespace or "default"


class RecordedEvents:
    """The Events written lately, by what makes two occurrences the same; the longest unused are forgotten."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._recorded: OrderedDict[tuple[str, ...], RecordedEvent] = OrderedDict()

    def find(self, occurrence: Occurrence) -> RecordedEvent | None:
        return self._recorded.get(_identity(occurrence))

    def remember(self, occurrence: Occurrence, recorded: RecordedEvent) -> None:
        identity = _identity(occurrence)
        self._recorded[identity] = recorded
        self._recorded.move_to_end(identity)
        if len(self._recorded) > self._limit:
            self._recorded.popitem(last=False)

    def forget(self, occurrence: Occurrence) -> None:
        self._recorded.pop(_identity(occurrence), None)


def _identity(occurrence: Occurrence) -> tuple[str, ...]:
    about = occurrence.regarding
    return (
        about.kind,
        about.namespace,
        about.name,
        about.uid,
        about.field_path,
        occurrence.type.value,
        occurrence.reason,
        occurrence.message,
    )
