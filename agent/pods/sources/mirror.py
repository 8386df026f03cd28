"""Keeps a mirror pod in the API for each static pod, so that people see it there.

IO through the pod API port. Told by the sources what there is on both sides; compares and repairs, again
whenever one side changes. A mirror that is deleted by somebody comes back, one that mirrors an older file is
replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from agent.pods.goal import MIRROR_ANNOTATION
from agent.pods.pod_api import PodApi
from agent.pods.sources.static_pods import StaticPod, build_mirror_document
from kubeapi.errors import KubeAPIError
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class CreateMirror:
    static: StaticPod


@dataclass(frozen=True, slots=True)
class DeleteMirror:
    mirror: Pod


def plan_mirrors(
    statics: Mapping[PodUID, StaticPod], mirrors: Mapping[ObjectKey, Pod]
) -> Iterator[CreateMirror | DeleteMirror]:
    """What to change in the API. Pure. A name whose old mirror must go first is created at the next look."""
    wanted = {static.pod.key: static for static in statics.values()}
    for key, mirror in mirrors.items():
        if not _mirrors(mirror, wanted.get(key)):
            yield DeleteMirror(mirror)
    for key, static in wanted.items():
        if key not in mirrors:
            yield CreateMirror(static)


def _mirrors(mirror: Pod, static: StaticPod | None) -> bool:
    if static is None or mirror.metadata.deletion_timestamp is not None:
        return False
    return mirror.metadata.annotations.get(MIRROR_ANNOTATION) == static.pod.metadata.uid


class MirrorKeeper:
    """`on_mirror` hears of each mirror that fits its static pod: its status can be written."""

    def __init__(
        self, api: PodApi, node_uid: Callable[[], str], on_mirror: Callable[[Pod, Pod], None]
    ) -> None:
        self._api = api
        self._node_uid = node_uid
        self._on_mirror = on_mirror
        self._statics: Mapping[PodUID, StaticPod] = {}
        self._mirrors: dict[ObjectKey, Pod] = {}
        self._work = asyncio.Event()
        self._complaints: set[str] = set()

    def set_statics(self, statics: Mapping[PodUID, StaticPod]) -> None:
        self._statics = statics
        self._work.set()

    def note_mirror(self, key: ObjectKey, mirror: Pod | None) -> None:
        if mirror is None:
            if self._mirrors.pop(key, None) is not None:
                self._work.set()
            return
        self._mirrors[key] = mirror
        self._work.set()
        if (static := self._find_static(key)) is not None and _mirrors(mirror, static):
            self._on_mirror(static.pod, mirror)

    def find_mirror(self, pod: Pod) -> Pod | None:
        """The mirror of a static pod as it is in the API now."""
        mirror = self._mirrors.get(pod.key)
        return mirror if mirror is not None and _mirrors(mirror, self._find_static(pod.key)) else None

    def _find_static(self, key: ObjectKey) -> StaticPod | None:
        return next((static for static in self._statics.values() if static.pod.key == key), None)

    async def run(self) -> None:
        """Until cancelled; start it when the API's pods are known."""
        while True:
            await self._work.wait()
            self._work.clear()
            for change in tuple(plan_mirrors(self._statics, self._mirrors)):
                await self._apply(change)

    async def _apply(self, change: CreateMirror | DeleteMirror) -> None:
        try:
            match change:
                case CreateMirror(static):
                    await self._create(static)
                case DeleteMirror(mirror):
                    await self._api.delete_pod(mirror)
                    self._mirrors.pop(mirror.key, None)
                    self._work.set()
                case _:
                    assert_never(change)
        except KubeAPIError as error:
            self._complain(str(error))
            self._try_again_later()

    async def _create(self, static: StaticPod) -> None:
        document = build_mirror_document(static, self._node_uid())
        created = await self._api.create_pod(document, static.pod.metadata.namespace)
        if created is None:
            # Another pod has the name, or an earlier mirror is still going.
            self._try_again_later()
        else:
            self._complaints.clear()
            self.note_mirror(static.pod.key, created)

    def _try_again_later(self) -> None:
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._work.set)

    def _complain(self, complaint: str) -> None:
        """Once for each: what the server refuses it goes on refusing."""
        if complaint not in self._complaints:
            self._complaints.add(complaint)
            _logger.warning("a mirror pod can't be changed", extra={"error": complaint})
