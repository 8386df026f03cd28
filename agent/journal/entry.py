"""What the journal holds of a pod: entries of its timeline, and the newest picture of what it waits for.

Pure: values and their JSON. Made by `narration`, written by `files`, read by `read`. An entry holds names,
times and sentences of ours or the runtime's; never variables, contents of volumes or output of containers.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from agent.pods.waits import CallInFlight, Wait

FORMAT_VERSION: Final = 1
MESSAGE_LIMIT: Final = 512
_WAITS_LIMIT: Final = 32

EntryKind = Literal["state", "action"]


class PodName(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which pod a file is about: its first line.

    `created_at`: when the pod was created, in seconds since the epoch, where its source says so.
    """

    version: int = FORMAT_VERSION
    namespace: str
    name: str
    uid: str
    source: str = "api"
    created_at: float | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a timeline; `at` is when it was so, or when the action ended, `seconds` how long it took.

    `what`: a state (`seen`, `Ready`, …) or the name of the action; `target`: the container, where it is about
    one.
    """

    at: float
    what: str
    kind: EntryKind = "state"
    target: str = ""
    seconds: float | None = None
    failed: bool = False
    reason: str = ""
    message: str = ""

    @property
    def began_at(self) -> float:
        return self.at - (self.seconds or 0.0)


class Picture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pod as its lane last saw it; `at` is since when it looks like this."""

    at: float
    phase: str = ""
    ready: bool = False
    waits: tuple[Wait, ...] = ()


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The agent's last sign of life; what is in the journal is true as of then."""

    at: float
    node: str = ""
    pid: int = 0
    dropped: int = 0


def shorten(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def shorten_waits(waits: tuple[Wait, ...]) -> tuple[Wait, ...]:
    """As many as a picture may hold, with messages of bounded length."""
    return tuple(
        Wait(wait.what, wait.reason, shorten(wait.message), wait.since, wait.next_retry, _shorten(wait.call))
        for wait in waits[:_WAITS_LIMIT]
    )


def _shorten(call: CallInFlight | None) -> CallInFlight | None:
    return None if call is None else CallInFlight(shorten(call.name), call.since)
