"""Keys that need a look: each at most once in the queue, never two looks at one key at a time.

Uses the event loop's clock, no other IO. Called by `controlplane.controllers.loop` and by the handlers that
turn a change into a key. A key that is added while its look is under way is looked at once more afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class WorkQueue(Generic[KeyT]):
    """As many keys as there are objects at most."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[KeyT] = asyncio.Queue()
        self._wanted: set[KeyT] = set()
        self._under_way: set[KeyT] = set()
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Keys that wait for a look now."""
        return len(self._wanted)

    @property
    def is_idle(self) -> bool:
        return not self._wanted and not self._under_way

    def add(self, key: KeyT) -> None:
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._under_way:
            self._ready.put_nowait(key)

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Adds the key when the time is over; of several times for one key, the earliest holds."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._ring, key)

    async def get(self) -> KeyT:
        """The next key; `done` must follow."""
        key = await self._ready.get()
        self._wanted.discard(key)
        self._under_way.add(key)
        return key

    def done(self, key: KeyT) -> None:
        self._under_way.discard(key)
        if key in self._wanted:
            self._ready.put_nowait(key)

    def close(self) -> None:
        """Cancels the timers; nothing is added any more by time."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _ring(self, key: KeyT) -> None:
        del self._timers[key]
        self.add(key)
