"""Directories of pods that nobody remembers: found again, so that their teardown goes on to its end.

IO: lists the root directory's pods, and for their names the log directory's, in a thread. The lanes take it
from there as with any pod that goes: mounts, files, logs, cgroups. Runs from the agent's start on; what it
tells counts once the sources of pods are complete (`PodLanes.note_directories`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agent.volumes.layout import build_pods_directory
from kubeapi.meta import ObjectMeta
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_SECONDS: Final = 30.0
_NAMELESS: Final = "default"


class OrphanDirectories:
    """`tell` gets a pod for each directory there is; it knows which of them have a lane."""

    def __init__(self, root: Path, logs: Path, tell: Callable[[Mapping[PodUID, Pod]], None]) -> None:
        self._root = root
        self._logs = logs
        self._tell = tell

    async def run(self) -> None:
        """Looks from time to time, until cancelled."""
        while True:
            try:
                self._tell(await asyncio.to_thread(list_pod_directories, self._root, self._logs))
            except OSError as error:
                _logger.warning("the directories of pods can't be listed", extra={"error": str(error)})
            await asyncio.sleep(_SECONDS)


def list_pod_directories(root: Path, logs: Path) -> Mapping[PodUID, Pod]:
    """A pod for each directory, named as its log directory is; raises OSError."""
    try:
        uids = os.listdir(build_pods_directory(root))
    except FileNotFoundError:
        return {}
    names = dict(_read_names(logs))
    return {PodUID(uid): Pod(metadata=names.get(uid) or _name_by_uid(uid)) for uid in uids}


def _read_names(logs: Path) -> list[tuple[str, ObjectMeta]]:
    found = []
    for entry in os.listdir(logs) if logs.is_dir() else ():
        match entry.split("_"):
            case [namespace, name, uid]:
                found.append((uid, ObjectMeta(namespace=namespace, name=name, uid=uid)))
    return found


def _name_by_uid(uid: str) -> ObjectMeta:
    return ObjectMeta(namespace=_NAMELESS, name=uid, uid=uid)
