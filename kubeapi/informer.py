"""Keeps a copy of the objects of one kind: list, then watch, for as long as it takes.

Does IO through `kubeapi.client`. Used by the agent, the scheduler and the controllers. A dropped stream is
resumed from the last resource version; when the server no longer knows that one (410) everything is listed
again and compared, so that what was deleted in the gap is told too. Handlers are called in order and must
return at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic

from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.errors import ApiStatusError, KubeAPIError, MalformedAnswer, Unreachable
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change, ObjectStore
from kubeapi.resources import Resource, ViewT
from kubeapi.watch_stream import WatchEvent, WatchEventType

__all__ = ["Change", "Informer", "InformerState"]

_logger = logging.getLogger(__name__)

# Short, because whoever was cut off is to see the truth soon after; the jitter keeps a crowd apart.
RETRY_BACKOFF: Final = Backoff(initial_seconds=0.2, maximum_seconds=10.0)
_WATCH_SECONDS_LOW: Final = 300
_WATCH_SECONDS_SPREAD: Final = 300
_SHORT_WATCH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class InformerState:
    """How an informer fares, for people: `last_error` is empty when all is well, times are seconds since the
    epoch.
    """

    resource: str
    synced: bool
    object_count: int
    resource_version: str
    last_error: str
    failing_since: float | None
    failures: int
    next_attempt_at: float | None


class Informer(Generic[ViewT]):
    """The objects of one kind (of one namespace, or selected), as last seen, and notices of their changes."""

    def __init__(
        self,
        client: Client,
        resource: Resource[ViewT],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        backoff: Backoff = RETRY_BACKOFF,
        random_source: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._backoff = backoff
        self._random = random_source
        self._store: ObjectStore[ViewT] = ObjectStore()
        self._handlers: list[Callable[[Change[ViewT]], None]] = []
        self._synced = asyncio.Event()
        self._resource_version = ""
        self._failures = 0
        self._last_error = ""
        self._failing_since: float | None = None
        self._next_attempt_at: float | None = None

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    @property
    def resource(self) -> Resource[ViewT]:
        return self._resource

    def get(self, key: ObjectKey) -> ViewT | None:
        return self._store.objects.get(key)

    def objects(self) -> Mapping[ObjectKey, ViewT]:
        """A live, read-only view; take a copy before awaiting while iterating."""
        return MappingProxyType(self._store.objects)

    def subscribe(self, handler: Callable[[Change[ViewT]], None]) -> None:
        """Calls `handler` for each change from now on, and at once for each object that is already known."""
        self._handlers.append(handler)
        for key, known in tuple(self._store.objects.items()):
            self._call(handler, Change(key, None, known))

    def state(self) -> InformerState:
        return InformerState(
            resource=self._resource.path(self._namespace),
            synced=self.has_synced,
            object_count=len(self._store.objects),
            resource_version=self._resource_version,
            last_error=self._last_error,
            failing_since=self._failing_since,
            failures=self._failures,
            next_attempt_at=self._next_attempt_at,
        )

    async def wait_until_synced(self) -> None:
        """Returns once the first list is in; the caller sets the deadline, if it wants one."""
        await self._synced.wait()

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                await self._watch()
            except ApiStatusError as error:
                if error.is_gone:
                    self._resource_version = ""
                self._note_failure(error)
                # The first 410 is no trouble of the server's: what it forgot is simply listed again.
                if not error.is_gone or self._failures > 1:
                    await self._wait_before_retry(error.retry_after_seconds)
            except KubeAPIError as error:
                if isinstance(error, MalformedAnswer):
                    self._resource_version = ""
                self._note_failure(error)
                await self._wait_before_retry(None)

    async def _list(self) -> None:
        listed = await self._client.list(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._tell(self._store.replace(listed.items))
        self._resource_version = listed.metadata.resource_version
        self._synced.set()

    async def _watch(self) -> None:
        """One stream, until the server ends it; an end right after the beginning is a failure."""
        loop = asyncio.get_running_loop()
        began, heard = loop.time(), False
        events = self._client.watch(
            self._resource,
            self._namespace,
            resource_version=self._resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=_WATCH_SECONDS_LOW + int(self._random() * _WATCH_SECONDS_SPREAD),
        )
        async with aclosing(events):
            async for event in events:
                heard = True
                self._apply(event)
                self._note_success()
        if not heard and loop.time() - began < _SHORT_WATCH_SECONDS:
            raise Unreachable(f"the server ended the watch of {self._resource.plural} as soon as it began")
        self._note_success()

    def _apply(self, event: WatchEvent[ViewT]) -> None:
        match event.type:
            case WatchEventType.ADDED | WatchEventType.MODIFIED:
                self._tell(self._store.put(event.object))
            case WatchEventType.DELETED:
                self._tell(self._store.remove(event.object))
            case WatchEventType.BOOKMARK:
                pass
        self._resource_version = event.object.metadata.resource_version

    def _tell(self, changes: tuple[Change[ViewT], ...]) -> None:
        for change in changes:
            for handler in self._handlers:
                self._call(handler, change)

    def _call(self, handler: Callable[[Change[ViewT]], None], change: Change[ViewT]) -> None:
        """A handler's mistake is its own: the copy and the other handlers go on."""
        try:
            handler(change)
        except Exception:
            _logger.exception(
                "A handler of object changes failed",
                extra={"resource": self._resource.plural, "object": str(change.key)},
            )

    def _note_success(self) -> None:
        if self._failures:
            _logger.info("Watching again", extra={"resource": self._resource.plural})
        self._failures = 0
        self._last_error = ""
        self._failing_since = None
        self._next_attempt_at = None

    def _note_failure(self, error: KubeAPIError) -> None:
        self._failures += 1
        self._last_error = str(error)
        self._failing_since = self._failing_since or time.time()

    async def _wait_before_retry(self, named_by_server: float | None) -> None:
        delay = max(self._backoff.delay(self._failures - 1, self._random()), named_by_server or 0.0)
        self._next_attempt_at = time.time() + delay
        _logger.warning(
            "Listing or watching failed; it is tried again",
            extra={
                "resource": self._resource.plural,
                "error": self._last_error,
                "attempt": self._failures,
                "delay_seconds": round(delay, 3),
            },
        )
        await asyncio.sleep(delay)
