"""The ids of pods with a user namespace of their own, kept beside the pods' other files.

IO: `<root>/pods/<uid>/userns`, replaced atomically, which goes with the pod's directory; a restarted agent
finds every pod's range there. Called by `execute`. Which range a pod gets is chosen in `user_ids`; the file
looks as the kubelet's does.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from agent.pods.ports import Unavailable
from agent.pods.security.user_ids import IDPool, IDRange, choose_range
from agent.volumes.layout import build_pod_directory, build_pods_directory
from kubeapi.pod import PodUID

_logger = logging.getLogger(__name__)

_FILE: Final = "userns"
_SANDBOX_ERROR: Final = "FailedCreatePodSandBox"


class UserNamespaces(Protocol):
    async def allocate(self, uid: PodUID) -> IDRange:
        """The pod's ids, the same ones whenever asked, and nobody else's; raises Unavailable or OSError."""

    def release(self, uid: PodUID) -> None:
        """The pod and its directory are gone. Idempotent."""


class NoUserNamespaces:
    """For agents without pods of that kind."""

    async def allocate(self, uid: PodUID) -> IDRange:
        raise Unavailable(_SANDBOX_ERROR, f"this agent gives no user namespace to pods, and so none to {uid}")

    def release(self, uid: PodUID) -> None:
        """Nothing was given."""


class _Mapping(msgspec.Struct, frozen=True, rename="camel"):
    host_id: int
    container_id: int
    length: int


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    uid_mappings: tuple[_Mapping, ...]
    gid_mappings: tuple[_Mapping, ...]


class LocalUserNamespaces:
    """`read_all` once, before anything is asked."""

    def __init__(self, root_dir: Path, pool: IDPool) -> None:
        self._root_dir = root_dir
        self._pool = pool
        self._ranges: dict[PodUID, IDRange] = {}

    def read_all(self) -> Mapping[PodUID, IDRange]:
        """What pods have that are on the disk; a file that can't be read is named in the log."""
        for path in build_pods_directory(self._root_dir).glob(f"*/{_FILE}"):
            try:
                self._ranges[PodUID(path.parent.name)] = _decode(path.read_bytes())
            except (OSError, msgspec.MsgspecError, ValueError) as error:
                _logger.warning(
                    "the ids of a pod's user namespace can't be read",
                    extra={"path": str(path), "error": str(error)},
                )
        return dict(self._ranges)

    async def allocate(self, uid: PodUID) -> IDRange:
        known = self._ranges.get(uid)
        if known is None:
            known = choose_range(self._pool, self._ranges.values())
            if known is None:
                message = (
                    f"all {self._pool.ranges} ranges of user ids for pods with hostUsers: false are taken"
                )
                raise Unavailable(_SANDBOX_ERROR, message)
            self._ranges[uid] = known  # before anything is awaited: nobody else may choose it
        await asyncio.to_thread(self._write, uid, known)
        return known

    def release(self, uid: PodUID) -> None:
        self._ranges.pop(uid, None)

    def _write(self, uid: PodUID, given: IDRange) -> None:
        path = build_pod_directory(self._root_dir, uid) / _FILE
        data = _encode(given)
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        draft.replace(path)


def _encode(given: IDRange) -> bytes:
    mappings = (_Mapping(given.first, 0, given.length),)
    return msgspec.json.encode(_Record(mappings, mappings))


def _decode(data: bytes) -> IDRange:
    record = msgspec.json.decode(data, type=_Record)
    if len(record.uid_mappings) != 1 or record.uid_mappings != record.gid_mappings:
        raise ValueError("it doesn't hold one range that users and groups share")
    (mapping,) = record.uid_mappings
    return IDRange(mapping.host_id, mapping.length)
