"""The current objects and a window of recent changes, in memory: lists and watches are served from here.

Does IO only through the storage it follows. One task (`run`) applies storage's changes in order; everything
else is plain bookkeeping on the event loop, so that a snapshot taken between two awaits is consistent.
Bytes are the served ones, encoded once. Used by the registry (reads, waiting for an own write) and by the
HTTP watch.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.apiserver.documents import Document, decode_json, read_text, stamp_version
from controlplane.apiserver.failures import too_large_version, too_old_version
from controlplane.apiserver.kinds import KINDS, Kind, find_kind_of_key
from controlplane.apiserver.watching import CachedObject, ObjectChange, Watcher
from controlplane.storage.contract import Change, Storage

WINDOW_CHANGES: Final = 4096
"""How many changes of one kind a client may have missed and still resume its watch."""

STORAGE_PREFIX: Final = "/registry/"
_LAST_CHARACTER: Final = "\U0010ffff"


def build_cached_object(kind: Kind, key: str, stored: bytes, revision: int) -> CachedObject:
    """Stored bytes with everything that selectors look at taken out of them once."""
    document = decode_json(stored)
    metadata: Mapping[str, Any] = document.get("metadata") or {}
    return CachedObject(
        key=key,
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        revision=revision,
        body=stamp_version(stored, revision),
        labels=metadata.get("labels") or {},
        fields=read_fields(kind, document),
    )


def read_fields(kind: Kind, document: Document) -> Mapping[str, str]:
    """What field selectors compare, by path."""
    fields = {path: read_text(document, path) for path in kind.fields}
    if "source" in fields:
        # An event's `source` selects its component, or else the reporter's newer field.
        fields["source"] = read_text(document, "source.component") or fields["reportingComponent"]
    metadata = document.get("metadata") or {}
    fields["metadata.name"] = metadata.get("name", "")
    fields["metadata.namespace"] = metadata.get("namespace", "")
    return fields


@dataclass(slots=True)
class KindCache:
    """One kind's objects in key order, its recent changes, and who watches it."""

    kind: Kind
    oldest: int
    objects: dict[str, CachedObject] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    window: deque[ObjectChange] = field(default_factory=deque)
    watchers: set[Watcher] = field(default_factory=set)

    def select(self, prefix: str) -> Iterator[CachedObject]:
        """The objects under `prefix`, in key order."""
        start = bisect_left(self.keys, prefix)
        end = bisect_left(self.keys, prefix + _LAST_CHARACTER, start)
        objects = self.objects
        return (objects[key] for key in self.keys[start:end])

    def put(self, cached: CachedObject) -> None:
        if cached.key not in self.objects:
            insort(self.keys, cached.key)
        self.objects[cached.key] = cached

    def remove(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def remember(self, change: ObjectChange) -> None:
        self.window.append(change)
        if len(self.window) > WINDOW_CHANGES:
            self.oldest = self.window.popleft().revision

    def changes_after(self, revision: int) -> Sequence[ObjectChange]:
        window = self.window
        start = bisect_right(window, revision, key=lambda change: change.revision)
        return [window[index] for index in range(start, len(window))]


class WatchCache:
    """All kinds' caches, at one revision. Call `load` once, then keep `run` running."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kinds: dict[str, KindCache] = {}
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()
        self._followed = 0
        self.revision = 0

    async def load(self) -> None:
        """Read everything that is current; `run` fills the window from what storage still remembers."""
        listing = await self._storage.list_prefix(STORAGE_PREFIX)
        self._followed = self._storage.compacted
        self._kinds = {kind.prefix: KindCache(kind, self._followed) for kind in KINDS}
        for item in listing.items:
            kind = find_kind_of_key(item.key)
            if kind is not None:
                cache = self._kinds[kind.prefix]
                cache.objects[item.key] = build_cached_object(kind, item.key, item.value, item.revision)
                cache.keys.append(item.key)
        self.revision = listing.revision

    async def run(self) -> None:
        """Follow storage until it closes."""
        changes = self._storage.watch(STORAGE_PREFIX, self._followed)
        async with aclosing(changes) as batches:  # type: ignore[type-var]
            async for batch in batches:
                self.apply(batch)

    def kind(self, kind: Kind) -> KindCache:
        return self._kinds[kind.prefix]

    def find(self, kind: Kind, namespace: str, name: str) -> CachedObject | None:
        return self._kinds[kind.prefix].objects.get(kind.key(namespace, name))

    def select(self, kind: Kind, namespace: str = "") -> Iterator[CachedObject]:
        prefix = f"{kind.prefix}{namespace}/" if namespace and kind.namespaced else kind.prefix
        return self._kinds[kind.prefix].select(prefix)

    def apply(self, changes: Sequence[Change]) -> None:
        """Take over committed changes, in order; ones that `load` saw only widen the window."""
        for change in changes:
            kind = find_kind_of_key(change.key)
            if kind is not None:
                self._apply_change(self._kinds[kind.prefix], change)
        self.revision = max(self.revision, changes[-1].revision)
        self._wake_waiting()

    def add_watcher(self, kind: Kind, watcher: Watcher, after_revision: int) -> None:
        """Everything after `after_revision` reaches `watcher`; ApiFailure (410) if some is forgotten."""
        cache = self._kinds[kind.prefix]
        if after_revision < cache.oldest:
            raise too_old_version(after_revision, cache.oldest)
        for change in cache.changes_after(after_revision):
            watcher.offer(change)
        cache.watchers.add(watcher)

    def remove_watcher(self, kind: Kind, watcher: Watcher) -> None:
        self._kinds[kind.prefix].watchers.discard(watcher)

    def close_watchers(self) -> None:
        for cache in self._kinds.values():
            for watcher in cache.watchers:
                watcher.close()

    async def wait_until(self, revision: int, timeout_seconds: float = 3.0) -> None:
        """Until the cache has seen `revision`; ApiFailure (504) if that does not come about."""
        if revision <= self.revision:
            return
        future = asyncio.get_running_loop().create_future()
        entry = (revision, future)
        self._waiting.add(entry)
        try:
            async with asyncio.timeout(timeout_seconds):
                await future
        except TimeoutError as error:
            raise too_large_version(revision, self.revision) from error
        finally:
            self._waiting.discard(entry)

    def _apply_change(self, cache: KindCache, change: Change) -> None:
        is_new = change.revision > self.revision
        old, new = self._read_old(cache, change, is_new), None
        if change.value is not None:
            new = self._read_new(cache, change, is_new)
        if is_new and new is not None:
            cache.put(new)
        elif is_new:
            cache.remove(change.key)
        seen = ObjectChange(change.revision, old, new)
        cache.remember(seen)
        if is_new:
            for watcher in cache.watchers:
                watcher.offer(seen)

    def _read_old(self, cache: KindCache, change: Change, is_new: bool) -> CachedObject | None:
        if is_new:
            return cache.objects.get(change.key)
        if change.previous is None:
            return None
        return build_cached_object(cache.kind, change.key, change.previous.value, change.previous.revision)

    def _read_new(self, cache: KindCache, change: Change, is_new: bool) -> CachedObject:
        current = cache.objects.get(change.key)
        if not is_new and current is not None and current.revision == change.revision:
            return current
        assert change.value is not None
        return build_cached_object(cache.kind, change.key, change.value, change.revision)

    def _wake_waiting(self) -> None:
        for revision, future in self._waiting:
            if revision <= self.revision and not future.done():
                future.set_result(None)
