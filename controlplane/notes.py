"""What is to be said about an object, as a value: it becomes an Event once it is true.

Pure. Built by the plans of the controllers and by the scheduler, written by `kubeapi.events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kubeapi.core import ObjectReference
from kubeapi.event_records import EventType


@dataclass(frozen=True, slots=True)
class Note:
    regarding: ObjectReference
    reason: str
    message: str
    type: EventType = EventType.NORMAL


class Recorder(Protocol):
    """Takes what happened and returns at once; `kubeapi.events.EventRecorder` is one."""

    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None: ...
