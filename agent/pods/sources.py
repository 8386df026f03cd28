"""Where pods come from: the API server's pods of this node, and a directory of manifests.

IO: an informer, and one `stat` of each manifest a second. Both hand whole pods to the lanes and say when they
are complete. Mirror pods are the API's pictures of static pods and go to `mirror` instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from agent.pods.goal import is_mirror
from agent.pods.static_pods import ManifestError, StaticPod, parse_manifest
from kubeapi.meta import ObjectKey, format_time
from kubeapi.object_store import Change
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_SCAN_SECONDS: Final = 1.0
_MAX_MANIFEST_BYTES: Final = 10 * 1024 * 1024


class PodSink(Protocol):
    """Who takes the pods: the lanes."""

    def set_pod(self, pod: Pod) -> None: ...

    def remove_pod(self, uid: PodUID) -> None: ...


class ApiSource:
    """The handler of the pod informer's changes."""

    def __init__(self, sink: PodSink, on_mirror: Callable[[ObjectKey, Pod | None], None]) -> None:
        self._sink = sink
        self._on_mirror = on_mirror

    def note_change(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and not is_mirror(old) and (new is None or new.uid != old.uid):
            self._sink.remove_pod(old.uid)
        if new is None:
            self._on_mirror(change.key, None)
        elif is_mirror(new):
            self._on_mirror(change.key, new)
        else:
            self._sink.set_pod(new)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """`stamp` changes with the file; `pods` is what it held, empty when it couldn't be read."""

    stamp: tuple[int, int, int]
    pods: tuple[StaticPod, ...]


class StaticSource:
    """Watches the directory; a file that can't be read is named once, and the others go on."""

    def __init__(
        self,
        directory: Path,
        node_name: str,
        sink: PodSink,
        on_static: Callable[[Mapping[PodUID, StaticPod]], None],
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._node_name = node_name
        self._sink = sink
        self._on_static = on_static
        self._now = now
        self._manifests: dict[Path, _Manifest] = {}
        self._pods: dict[PodUID, StaticPod] = {}
        self._complaint = ""

    async def run(self) -> None:
        """Until cancelled; `scan` once before to know all pods at start."""
        while True:
            await asyncio.sleep(_SCAN_SECONDS)
            await self.scan()

    @property
    def pods(self) -> Mapping[PodUID, StaticPod]:
        """As of the last scan."""
        return self._pods

    async def scan(self) -> bool:
        """Reads what changed since the last scan and tells it; False when the directory can't be read."""
        try:
            manifests = await asyncio.to_thread(self._read)
        except OSError as error:
            self._complain(f"the static pod directory {self._directory} can't be read: {error.strerror}")
            return False
        self._complain("")
        self._manifests = manifests
        pods: dict[PodUID, StaticPod] = {}
        for manifest in manifests.values():
            pods |= {static.pod.uid: static for static in manifest.pods}
        self._tell(pods)
        return True

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            _logger.warning("static pods can't be read", extra={"error": complaint})
        self._complaint = complaint

    def _tell(self, pods: dict[PodUID, StaticPod]) -> None:
        before, self._pods = self._pods, pods
        for uid in before.keys() - pods.keys():
            self._sink.remove_pod(uid)
        for uid in pods.keys() - before.keys():
            self._sink.set_pod(pods[uid].pod)
        if before.keys() != pods.keys():
            self._on_static(pods)

    def _read(self) -> dict[Path, _Manifest]:
        manifests = {}
        for path in sorted(self._directory.iterdir()):
            if path.name.startswith(".") or path.suffix not in (".yaml", ".yml", ".json"):
                continue
            if not path.is_file():
                continue
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._manifests.get(path)
            if known is not None and known.stamp == stamp:
                manifests[path] = known
            else:
                manifests[path] = _Manifest(stamp, self._parse(path, known))
        return manifests

    def _parse(self, path: Path, known: _Manifest | None) -> tuple[StaticPod, ...]:
        """The file's pods; while it is broken, those it held before go on."""
        seen = format_time(datetime.fromtimestamp(self._now(), UTC))
        try:
            if path.stat().st_size > _MAX_MANIFEST_BYTES:
                raise ManifestError(f"{path} is larger than {_MAX_MANIFEST_BYTES} bytes; that is no manifest")
            return parse_manifest(str(path), path.read_text(), self._node_name, seen)
        except (ManifestError, OSError, UnicodeDecodeError) as error:
            _logger.warning("a static pod's manifest can't be used", extra={"error": str(error)})
            return known.pods if known is not None else ()
