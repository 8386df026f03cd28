"""The objects of one kind that this node has by itself: what an informer is to the API server's.

Pure, with state. Filled by `cluster`, read through `agent.object_source.ObjectSource`. Handlers are called in
order and must return at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Generic

from agent.object_source import ObjectT
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change

_logger = logging.getLogger(__name__)


class LocalObjects(Generic[ObjectT]):
    def __init__(self) -> None:
        self._objects: dict[ObjectKey, ObjectT] = {}
        self._handlers: list[Callable[[Change[ObjectT]], None]] = []
        self._synced = asyncio.Event()

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def wait_until_synced(self) -> None:
        await self._synced.wait()

    def get(self, key: ObjectKey) -> ObjectT | None:
        return self._objects.get(key)

    def objects(self) -> Mapping[ObjectKey, ObjectT]:
        return MappingProxyType(self._objects)

    def subscribe(self, handler: Callable[[Change[ObjectT]], None]) -> None:
        self._handlers.append(handler)
        for key, known in tuple(self._objects.items()):
            self._call(handler, Change(key, None, known))

    @contextmanager
    def watching(self, handler: Callable[[Change[ObjectT]], None]) -> Iterator[None]:
        """Like `subscribe`, while the block runs."""
        self.subscribe(handler)
        try:
            yield
        finally:
            self._handlers.remove(handler)

    def replace(self, objects: Iterable[ObjectT]) -> None:
        """From now on these are all; whoever subscribed hears of the differences, deletions first."""
        new = {each.key: each for each in objects}
        old, self._objects = self._objects, new
        self._synced.set()
        for key in old.keys() - new.keys():
            self._tell(Change(key, old[key], None))
        for key, each in new.items():
            if old.get(key) != each:
                self._tell(Change(key, old.get(key), each))

    def _tell(self, change: Change[ObjectT]) -> None:
        for handler in tuple(self._handlers):
            self._call(handler, change)

    def _call(self, handler: Callable[[Change[ObjectT]], None], change: Change[ObjectT]) -> None:
        """A handler's mistake is its own: the others go on."""
        try:
            handler(change)
        except Exception:
            _logger.exception("A handler of object changes failed", extra={"object": str(change.key)})
