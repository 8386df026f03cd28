"""WATCH: a response that never ends by itself, one line per event.

IO on the response. Called by `http_server`. Starts with what the request asks for (everything, or the
changes since a version), then follows the cache; bookmarks tell quiet watchers how far they are. Follows
"Efficient detection of changes", "Watch bookmarks" and "Streaming lists" of the API concepts page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final

from aiohttp import web
from multidict import MultiMapping

from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.failures import ApiFailure, bad_request, not_acceptable
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.listing import parse_version
from controlplane.apiserver.negotiation import JSON, Format, Shape
from controlplane.apiserver.rendering import render_object
from controlplane.apiserver.request_options import read_number, read_selection
from controlplane.apiserver.request_path import ResourceRequest, is_true
from controlplane.apiserver.watching import (
    CachedObject,
    EventType,
    ObjectChange,
    Render,
    Selection,
    Watcher,
    build_bookmark,
    build_frame,
    render_frame,
)
from kubeapi.status import encode_status

_BOOKMARK_SECONDS: Final = 60.0
_MINIMUM_WATCH_SECONDS: Final = 1800.0
_MAXIMUM_WATCH_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    selection: Selection
    version: int
    starts_with_everything: bool
    sends_initial_events: bool
    bookmarks: bool
    timeout_seconds: float


def read_watch_options(kind: Kind, namespace: str, query: MultiMapping[str], random: Random) -> WatchOptions:
    """ApiFailure 400 for parameters that contradict each other."""
    version = parse_version(query.get("resourceVersion", ""))
    bookmarks = is_true(query.get("allowWatchBookmarks"))
    initial = query.get("sendInitialEvents")
    match_rule = query.get("resourceVersionMatch", "")
    if initial is not None and match_rule != "NotOlderThan":
        raise bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if initial is None and match_rule:
        raise bad_request("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    timeout = read_number(query, "timeoutSeconds")
    seconds = float(timeout) if timeout else _MINIMUM_WATCH_SECONDS * (1 + random.random())
    return WatchOptions(
        selection=read_selection(kind, namespace, query),
        version=version,
        starts_with_everything=is_true(initial) if initial is not None else version == 0,
        sends_initial_events=is_true(initial),
        bookmarks=bookmarks,
        timeout_seconds=min(seconds, _MAXIMUM_WATCH_SECONDS),
    )


class WatchRequests:
    """Answers watches until they time out, their client leaves, or the server ends them."""

    def __init__(self, cache: WatchCache, now: Callable[[], datetime], random: Random) -> None:
        self._cache = cache
        self._now = now
        self._random = random

    async def answer(
        self, request: web.Request, target: ResourceRequest, answer: Format
    ) -> web.StreamResponse:
        if answer.media_type != JSON:
            raise not_acceptable((JSON,))
        options = read_watch_options(target.kind, target.namespace, request.query, self._random)
        if options.sends_initial_events:
            await self._cache.wait_until(options.version)
        render = self._choose_render(target.kind, answer, request.query.get("includeObject", "Metadata"))
        watcher = Watcher(options.selection, render)
        try:
            opening = self._start(target.kind, watcher, options, render)
        except ApiFailure as failure:
            opening = [build_frame(EventType.ERROR, encode_status(failure.status))]
            watcher.close()
        try:
            return await self._stream(request, target.kind, watcher, options, opening)
        finally:
            self._cache.remove_watcher(target.kind, watcher)

    def _start(self, kind: Kind, watcher: Watcher, options: WatchOptions, render: Render) -> list[bytes]:
        """Register the watcher and return the frames it begins with; nothing may be awaited in between."""
        if not options.starts_with_everything:
            after = options.version or self._cache.revision
            self._cache.add_watcher(kind, watcher, after)
            return []
        revision = self._cache.revision
        frames = [
            render(EventType.ADDED, ObjectChange(cached.revision, None, cached))
            for cached in self._select(kind, options.selection)
        ]
        if options.sends_initial_events and options.bookmarks:
            frames.append(_build_bookmark_frame(kind, revision, ends_initial_events=True))
        self._cache.add_watcher(kind, watcher, revision)
        return frames

    def _select(self, kind: Kind, selection: Selection) -> list[CachedObject]:
        return [each for each in self._cache.select(kind, selection.namespace) if selection.matches(each)]

    async def _stream(
        self,
        request: web.Request,
        kind: Kind,
        watcher: Watcher,
        options: WatchOptions,
        opening: list[bytes],
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        end = loop.time() + options.timeout_seconds
        response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if opening:
            await response.write(b"".join(opening))
        while (remaining := end - loop.time()) > 0:
            frames = await watcher.next_frames(min(_BOOKMARK_SECONDS, remaining))
            if frames:
                await response.write(b"".join(frames))
            elif watcher.closed:
                break
            elif options.bookmarks:
                # Nothing is pending, hence everything up to the cache's revision has been sent.
                await response.write(_build_bookmark_frame(kind, self._cache.revision))
        await response.write_eof()
        return response

    def _choose_render(self, kind: Kind, answer: Format, include_object: str) -> Render:
        if answer.shape is Shape.OBJECT:
            return render_frame

        def render(event_type: EventType, change: ObjectChange) -> bytes:
            body = render_object(
                kind, change.body(event_type), answer, now=self._now(), include_object=include_object
            )
            return build_frame(event_type, body)

        return render


def _build_bookmark_frame(kind: Kind, revision: int, *, ends_initial_events: bool = False) -> bytes:
    bookmark = build_bookmark(kind.kind, kind.api_version, revision, ends_initial_events=ends_initial_events)
    return build_frame(EventType.BOOKMARK, bookmark)
