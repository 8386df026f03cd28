"""Which pods may start now, and which wait for their turn: a few at a time are done sooner than all at once.

Pure: time arrives as an argument, and nothing here waits. Asked by the lanes before a new sandbox, and told
when a pod has nothing of its start in flight any more: a pod keeps its place from its sandbox to its started
containers, so that what was begun is finished first. First come, first served. A place counts for no longer
than a few seconds, so that pods that hang don't hold up the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kubeapi.pod import PodUID

DEFAULT_PLACES: Final = 4
PATIENCE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a pod may start; else why not, since when, and when to ask again if nobody calls it earlier."""

    granted: bool
    message: str = ""
    since: float = 0.0
    ask_again_at: float | None = None


GRANTED: Final = Turn(granted=True)


@dataclass(frozen=True, slots=True)
class _Waiting:
    since: float
    call: Callable[[], None]


class LaunchQueue:
    """`places`: how many pods may be starting at the same time."""

    def __init__(self, places: int = DEFAULT_PLACES, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._places = places
        self._patience = patience_seconds
        self._starting: dict[PodUID, float] = {}  # since when
        self._waiting: dict[PodUID, _Waiting] = {}  # in the order in which they came

    def ask(self, uid: PodUID, call: Callable[[], None], now: float) -> Turn:
        """The pod wants to start; where it has to wait, `call` is called when its turn has come."""
        if uid in self._starting:
            return GRANTED
        waiting = self._waiting.setdefault(uid, _Waiting(now, call))
        self._grant(now, asking=uid)
        if uid in self._starting:
            return GRANTED
        ahead = list(self._waiting).index(uid)
        message = f"waits for its turn: all {self._places} places of pods that start are taken"
        message += f", {ahead} more in line before it" if ahead else ""
        return Turn(False, message, waiting.since, min(self._starting.values()) + self._patience)

    def leave(self, uid: PodUID, now: float) -> None:
        """The pod doesn't start, or not any more. Idempotent."""
        if self._starting.pop(uid, None) is None and self._waiting.pop(uid, None) is None:
            return
        self._grant(now)

    def _grant(self, now: float, asking: PodUID | None = None) -> None:
        """Gives the free places to the first in line, and calls them."""
        for uid, since in tuple(self._starting.items()):
            if now >= since + self._patience:
                del self._starting[uid]
        for uid in tuple(self._waiting)[: max(0, self._places - len(self._starting))]:
            waiting = self._waiting.pop(uid)
            self._starting[uid] = now
            if uid != asking:
                waiting.call()
