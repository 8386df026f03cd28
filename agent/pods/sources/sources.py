"""Where pods come from: the API server's pods of this node, and a directory of manifests.

IO: an informer, and one `stat` of each file a second. Both hand whole pods to the lanes and say when they
are complete. Mirror pods are the API's pictures of static pods and go to `mirror` instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Final, Protocol

from agent.pods.goal import is_mirror
from agent.pods.sources.manifests import Manifest, ManifestObjects, merge_manifests, parse_manifest
from agent.pods.sources.static_pods import ManifestError, ManifestRules
from kubeapi.meta import ObjectKey, format_time
from kubeapi.object_store import Change
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_SCAN_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 0.1  # a file younger than that may be half written
_MISSING_SCANS: Final = 3
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json", ".manifest"})
_MAX_MANIFEST_BYTES: Final = 10 * 1024 * 1024


class PodSink(Protocol):
    """Who takes the pods: the lanes."""

    def set_pod(self, pod: Pod) -> None: ...

    def remove_pod(self, uid: PodUID) -> None: ...

    def keep_only(self, uids: Collection[PodUID], *, static: bool) -> None:
        """A source is complete: pods of its kind that it doesn't have go."""

    def adopt_orphans(self) -> None:
        """From now on the sources are complete: whatever else the runtime shows of ours goes."""


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
class _File:
    """`stamp` changes with the file; `manifest` is what it held when it could last be used, if that is known:
    an agent that has just started doesn't know what a broken file held.
    """

    stamp: tuple[int, int, int]
    manifest: Manifest
    is_known: bool = True


class StaticSource:
    """Watches the directory; what can't be used is named once, and everything else goes on.

    `on_objects` hears of all that the files hold, at each change and before the lanes hear of the pods.
    """

    def __init__(
        self,
        directory: Path,
        node_name: str,
        rules: ManifestRules,
        sink: PodSink,
        on_objects: Callable[[ManifestObjects], None],
    ) -> None:
        self._directory = directory
        self._node_name = node_name
        self._rules = rules
        self._sink = sink
        self._on_objects = on_objects
        self._files: dict[Path, _File] = {}
        self._unsettled = False
        self._missing = 0
        self._objects = ManifestObjects()
        self._complaints: frozenset[str] = frozenset()
        self._is_told = False
        self._is_complete = False

    async def run(self) -> None:
        """Scans until cancelled; from the first complete scan on, static pods without a file go."""
        while True:
            if await self.scan() and not self._is_complete:
                self._is_complete = True
                self._sink.keep_only(self._objects.pods.keys(), static=True)
            await asyncio.sleep(_SETTLE_SECONDS if self._unsettled else _SCAN_SECONDS)

    async def scan(self) -> bool:
        """Reads what changed since the last scan and tells it; False when not everything is known, and so
        nothing else may go.
        """
        try:
            files, self._unsettled = await asyncio.to_thread(self._read)
        except FileNotFoundError:
            return self._note_missing()
        except OSError as error:
            self._complain(
                {f"the static pod directory {self._directory} can't be read: {error.strerror}; mend it"}
            )
            return False
        self._missing = 0
        self._files = files
        self._take_in()
        return not self._unsettled and all(file.is_known for file in files.values())

    def _note_missing(self) -> bool:
        """A directory that is gone holds nothing, but one that is being replaced is gone for a moment."""
        self._missing += 1
        if self._missing < _MISSING_SCANS:
            return False
        self._files, self._unsettled = {}, False
        self._take_in(f"the static pod directory {self._directory} doesn't exist; make it")
        return True

    def _take_in(self, *found_wrong: str) -> None:
        objects, complaints = merge_manifests(
            {str(path): file.manifest for path, file in self._files.items()}
        )
        self._complain(
            {
                *found_wrong,
                *complaints,
                *(c for file in self._files.values() for c in file.manifest.complaints),
            }
        )
        before, self._objects = self._objects, objects
        if objects == before and self._is_told:
            return
        self._is_told = True
        self._on_objects(objects)
        for uid in before.pods.keys() - objects.pods.keys():
            self._sink.remove_pod(uid)
        for uid in objects.pods.keys() - before.pods.keys():
            self._sink.set_pod(objects.pods[uid].pod)

    def _complain(self, complaints: set[str]) -> None:
        for complaint in sorted(complaints - self._complaints):
            _logger.warning("a manifest can't be used", extra={"error": complaint})
        self._complaints = frozenset(complaints)

    # --- reading, in a thread -------------------------------------------------------------------------------

    def _read(self) -> tuple[dict[Path, _File], bool]:
        """The files, and whether one of them was being written, which is therefore as it was before."""
        files: dict[Path, _File] = {}
        unsettled = False
        for path in sorted(self._directory.iterdir()):
            if path.name.startswith(".") or path.suffix not in _SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # gone since it was listed
                file = self._read_file(path)
                unsettled |= file is None
                if (current := file or self._files.get(path)) is not None:
                    files[path] = current
        return files, unsettled

    def _read_file(self, path: Path) -> _File | None:
        """None: it is being written."""
        status = path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._files.get(path)
        if known is not None and known.stamp == stamp:
            return known
        if not S_ISREG(status.st_mode):
            return _File(stamp, Manifest())
        if 0 <= time.time() - status.st_mtime < _SETTLE_SECONDS:
            return None
        return self._parse(path, stamp, known)

    def _parse(self, path: Path, stamp: tuple[int, int, int], known: _File | None) -> _File:
        """What the file holds; while it is broken, what it held before goes on."""
        # Not the time of this look: what a pod's annotations say is to survive a restart of the agent.
        seen = format_time(datetime.fromtimestamp(stamp[1] / 1e9, UTC))
        try:
            if stamp[2] > _MAX_MANIFEST_BYTES:
                raise ManifestError(f"{path} is larger than {_MAX_MANIFEST_BYTES} bytes; that is no manifest")
            text = path.read_text()
            return _File(stamp, parse_manifest(str(path), text, self._node_name, seen, self._rules))
        except ManifestError as error:
            complaint = str(error)
        except UnicodeDecodeError:
            complaint = f"{path} is no text in UTF-8; mend it"
        except FileNotFoundError:
            raise
        except OSError as error:
            complaint = f"{path} can't be read: {error.strerror}; mend it"
        before = known.manifest.objects if known is not None else ()
        return _File(stamp, Manifest(before, (complaint,)), is_known=known is not None and known.is_known)
