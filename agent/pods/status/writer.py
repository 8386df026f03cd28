"""Sends pod statuses to the API server: only what changed, one write per pod at a time, until it is there.

IO through the pod API port. Called by the lanes, which never wait for it but before they delete a pod, and
told of every object that the API shows. A status that is overtaken by a newer one is never sent; mere steps
of a start are held back for a moment, because they mostly are (`status.urgency`). A status that somebody else
wrote over is sent again (`status.drift` says when).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agent.pods.pod_api import PodApi
from agent.pods.status.drift import find_drift
from agent.pods.status.patch import build_status_patch
from agent.pods.status.urgency import HOLD_BACK_SECONDS, is_news
from kubeapi.backoff import Backoff
from kubeapi.errors import KubeAPIError
from kubeapi.meta import is_newer_version
from kubeapi.pod import Pod, PodStatus, PodUID

_logger = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(initial_seconds=0.2, maximum_seconds=10.0)
_SLOW_SECONDS: Final = 5.0
_WRITES_AT_ONCE: Final = 8  # more would only open more connections: the server takes one write after another

ResolveTarget = Callable[[Pod], Pod | None]
"""The API's object for a pod: itself, or a static pod's mirror; None while there is none."""


@dataclass(frozen=True, slots=True)
class WriteTrouble:
    """Why a status isn't with the API server yet; `since` in seconds since the epoch."""

    message: str
    since: float


@dataclass(slots=True)
class _Entry:
    """`written` is what the API's object says for all we know, as of its resource version `version`.

    `held_until`: when a step that is held back is written after all, by the loop's clock. `hurried`: somebody
    waits for the write. `told`: one of these, or what is wanted, has changed.
    """

    pod: Pod
    wanted: PodStatus
    written: PodStatus
    target_uid: PodUID | None = None
    version: str = ""
    held_until: float | None = None
    hurried: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: WriteTrouble | None = None
    task: asyncio.Task[None] | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class StatusWriter:
    """Use inside a running event loop; `aclose` gives up what is unsent."""

    def __init__(self, api: PodApi, resolve: ResolveTarget, random: Callable[[], float]) -> None:
        self._api = api
        self._resolve = resolve
        self._random = random
        self._entries: dict[PodUID, _Entry] = {}
        self._trouble_handlers: list[Callable[[PodUID], None]] = []
        self._slots = asyncio.Semaphore(_WRITES_AT_ONCE)

    def submit(self, pod: Pod, status: PodStatus) -> None:
        """The newest status of the pod; returns at once."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod, status, PodStatus())
        entry.pod, entry.wanted = pod, status
        entry.told.set()
        self._start(pod.uid, entry)

    def note_object(self, pod: Pod, shown: Pod) -> None:
        """The API's object of this pod, at its every change: it may be another one, or say something else
        than was written; our own write coming back, or something older, starts nothing.
        """
        entry = self._entries.get(pod.uid)
        if entry is None:
            return
        if entry.target_uid != shown.uid or _find_overwritten(entry, shown) is not None:
            self._start(pod.uid, entry)

    async def flush(self, uid: PodUID) -> None:
        """Returns when the pod's newest status is written, or the pod is gone from the API."""
        entry = self._entries.get(uid)
        while entry is not None and entry.task is not None:
            entry.hurried = True
            entry.told.set()
            await entry.idle.wait()

    def find_trouble(self, uid: PodUID) -> WriteTrouble | None:
        """What keeps the pod's status from the API server now, if something does."""
        entry = self._entries.get(uid)
        return entry.trouble if entry is not None else None

    def subscribe_trouble(self, handler: Callable[[PodUID], None]) -> None:
        """Called when `find_trouble` answers differently for a pod; sync and quick."""
        self._trouble_handlers.append(handler)

    @contextmanager
    def _tell_of_trouble(self, entry: _Entry) -> Iterator[None]:
        """Around one write: it may fail, or take so long that somebody wants to know."""
        began = time.time()
        slow = WriteTrouble("the API server has not answered the write of its status yet", began)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_SLOW_SECONDS, lambda: self._change_trouble(entry, slow))
        try:
            yield
        except KubeAPIError as error:
            self._change_trouble(entry, WriteTrouble(str(error), began))
            raise
        else:
            self._change_trouble(entry, None)
        finally:
            timer.cancel()

    def _change_trouble(self, entry: _Entry, trouble: WriteTrouble | None) -> None:
        """Trouble that goes on began when it began."""
        if trouble is not None and entry.trouble is not None:
            trouble = replace(trouble, since=entry.trouble.since)
        if entry.trouble == trouble:
            return
        entry.trouble = trouble
        for handler in self._trouble_handlers:
            handler(entry.pod.uid)

    def forget(self, uid: PodUID) -> None:
        entry = self._entries.pop(uid, None)
        if entry is not None and entry.task is not None:
            entry.task.cancel()

    async def aclose(self) -> None:
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for uid in tuple(self._entries):
            self.forget(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, uid: PodUID, entry: _Entry) -> None:
        if entry.task is None and self._resolve(entry.pod) is not None:
            entry.idle.clear()
            entry.task = asyncio.get_running_loop().create_task(self._run(entry), name=f"status of {uid}")
            # Cancelled before its first step, a task runs nothing of `_run`.
            entry.task.add_done_callback(lambda task: _finish(entry) if entry.task is task else None)

    async def _run(self, entry: _Entry) -> None:
        """Ends with nothing awaited between the last look at what is wanted and saying that nobody writes: a
        status submitted in between would wait for the next one.
        """
        try:
            await self._write(entry)
        finally:
            _finish(entry)

    async def _write(self, entry: _Entry) -> None:
        failures = 0
        while self._build_patch(entry) is not None:
            if await _hold_back(entry):
                continue
            try:
                with self._tell_of_trouble(entry):
                    async with self._slots:
                        if not await self._patch(entry):
                            return
                failures = 0
            except KubeAPIError as error:
                _logger.warning(
                    "a pod's status can't be written", extra={"pod": str(entry.pod.key), "error": str(error)}
                )
                await asyncio.sleep(_BACKOFF.delay(failures, self._random()))
                failures += 1

    def _build_patch(self, entry: _Entry) -> tuple[Pod, Mapping[str, Any]] | None:
        """The API's object and what it lacks; None where it lacks nothing, or isn't there."""
        target = self._resolve(entry.pod)
        if target is None:
            return None
        _take_in(entry, target)
        patch = build_status_patch(target.uid, entry.written, entry.wanted)
        return (target, patch) if patch is not None else None

    async def _patch(self, entry: _Entry) -> bool:
        """Writes what is wanted by now; False when there is nothing to write, or nothing to write to."""
        built, wanted = self._build_patch(entry), entry.wanted
        stored = await self._api.patch_status(*built) if built is not None else None
        if stored is None:
            return False
        _note_stored(entry, wanted, stored)
        return True


async def _hold_back(entry: _Entry) -> bool:
    """Waits for what overtakes a mere step; False when what is wanted is to be written now."""
    now = asyncio.get_running_loop().time()
    if entry.hurried or is_news(entry.pod, entry.written, entry.wanted):
        return False
    if entry.held_until is None:
        entry.held_until = now + HOLD_BACK_SECONDS
    if entry.held_until <= now:
        return False
    entry.told.clear()
    try:
        async with asyncio.timeout_at(entry.held_until):
            await entry.told.wait()
    except TimeoutError:
        pass
    return True


def _take_in(entry: _Entry, target: Pod) -> None:
    """What the API's object says that our last write doesn't account for."""
    if target.uid != entry.target_uid:
        entry.target_uid, entry.written = target.uid, target.status
        entry.version = target.metadata.resource_version
    elif (drifted := _find_overwritten(entry, target)) is not None:
        entry.written, entry.version = drifted, target.metadata.resource_version


def _find_overwritten(entry: _Entry, shown: Pod) -> PodStatus | None:
    if not is_newer_version(shown.metadata.resource_version, entry.version):
        return None
    return find_drift(entry.written, shown.status)


def _note_stored(entry: _Entry, wanted: PodStatus, stored: Pod) -> None:
    """A patch doesn't touch what somebody else wrote over in the meantime: then the answer shows that. Where
    it shows what the patch started from, the server won't have it otherwise, and asking again is in vain.
    """
    started_from, entry.written, entry.held_until = entry.written, wanted, None
    entry.version = stored.metadata.resource_version
    drifted = find_drift(wanted, stored.status)
    if drifted is not None and find_drift(started_from, stored.status) is not None:
        entry.written = drifted


def _finish(entry: _Entry) -> None:
    entry.task = None
    entry.hurried = False
    entry.held_until = None
    entry.idle.set()
