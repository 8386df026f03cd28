"""Fan-out of committed changes to the watches of this process.

Does no IO; lives on the event loop's thread. Backends whose writes all pass through this process (memory,
sqlite) publish here after each commit; each watch holds one subscription.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from controlplane.storage.contract import Change
from controlplane.storage.errors import WatchLaggedError

MAXIMUM_PENDING_CHANGES: Final = 100_000
"""A subscription that falls this far behind is cut, so that a stuck reader cannot fill the memory."""


class Subscription:
    """The changes under one prefix, from the moment of subscribing on."""

    def __init__(self, feed: ChangeFeed, prefix: str) -> None:
        self._feed = feed
        self._prefix = prefix
        self._pending: deque[Change] = deque()
        self._wake = asyncio.Event()
        self._lagged = False
        self._closed = False

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.remove(self)

    def offer(self, changes: Sequence[Change]) -> None:
        self._pending.extend(change for change in changes if change.key.startswith(self._prefix))
        if len(self._pending) > MAXIMUM_PENDING_CHANGES:
            self._lagged = True
            self._pending.clear()
        if self._pending or self._lagged:
            self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def next_batch(self) -> tuple[Change, ...]:
        """All changes that wait, or the next ones; empty once the feed is closed."""
        while not self._pending and not self._closed and not self._lagged:
            self._wake.clear()
            await self._wake.wait()
        if self._lagged:
            raise WatchLaggedError(f"the watch of {self._prefix} was read too slowly; watch again")
        batch = tuple(self._pending)
        self._pending.clear()
        return batch


class ChangeFeed:
    """The subscriptions of one storage."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self, prefix: str) -> Subscription:
        subscription = Subscription(self, prefix)
        self._subscriptions.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def publish(self, changes: Sequence[Change]) -> None:
        for subscription in self._subscriptions:
            subscription.offer(changes)

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
