"""Sends pod statuses to the API server: only what changed, one write per pod at a time, until it is there.

IO through the pod API port. Called by the lanes, which never wait for it but before they delete a pod, and
told of every object that the API shows. A status that is overtaken by a newer one is never sent; one that
somebody else wrote over is sent again (`status_drift` says when).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agent.pods.pod_api import PodApi
from agent.pods.status_drift import find_drift
from agent.pods.status_patch import build_status_patch
from kubeapi.backoff import Backoff
from kubeapi.errors import KubeAPIError
from kubeapi.meta import is_newer_version
from kubeapi.pod import Pod, PodStatus, PodUID

_logger = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(initial_seconds=0.2, maximum_seconds=10.0)

ResolveTarget = Callable[[Pod], Pod | None]
"""The API's object for a pod: itself, or a static pod's mirror; None while there is none."""


@dataclass(slots=True)
class _Entry:
    """`written` is what the API's object says for all we know, as of its resource version `version`."""

    pod: Pod
    wanted: PodStatus
    written: PodStatus
    target_uid: PodUID | None = None
    version: str = ""
    task: asyncio.Task[None] | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class StatusWriter:
    """Use inside a running event loop; `aclose` gives up what is unsent."""

    def __init__(self, api: PodApi, resolve: ResolveTarget, random: Callable[[], float]) -> None:
        self._api = api
        self._resolve = resolve
        self._random = random
        self._entries: dict[PodUID, _Entry] = {}

    def submit(self, pod: Pod, status: PodStatus) -> None:
        """The newest status of the pod; returns at once."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod, status, PodStatus())
        entry.pod, entry.wanted = pod, status
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
            await entry.idle.wait()

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
        while (target := self._resolve(entry.pod)) is not None:
            _take_in(entry, target)
            wanted = entry.wanted
            patch = build_status_patch(target.uid, entry.written, wanted)
            if patch is None:
                return
            try:
                stored = await self._api.patch_status(target, patch)
                if stored is None:
                    return
                _note_stored(entry, wanted, stored)
                failures = 0
            except KubeAPIError as error:
                _logger.warning(
                    "a pod's status can't be written", extra={"pod": str(target.key), "error": str(error)}
                )
                await asyncio.sleep(_BACKOFF.delay(failures, self._random()))
                failures += 1


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
    started_from, entry.written = entry.written, wanted
    entry.version = stored.metadata.resource_version
    drifted = find_drift(wanted, stored.status)
    if drifted is not None and find_drift(started_from, stored.status) is not None:
        entry.written = drifted


def _finish(entry: _Entry) -> None:
    entry.task = None
    entry.idle.set()
