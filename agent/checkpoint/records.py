"""What the node remembers of a pod across restarts.

Pure. Written by the pod lanes whenever it changes, read once at start: without an API server the agent goes
on from here. What runs is not in it; the runtime shows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from kubeapi.pod import Pod, ResourceRequirements

FORMAT_VERSION: Final = 1


class ResourceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an in-place resize stands; what is allocated is in the record's pod itself.

    `wanted`: resources by container that aren't allocated, with `reason` and `message` why, and `since` when.
    `in_progress`: what was allocated at `allocated_at` isn't yet all with the kernel. `actuated`: resources
    by container id that a running container was given after its start.
    """

    wanted: Mapping[str, ResourceRequirements] = {}
    reason: str = ""
    message: str = ""
    since: float | None = None
    in_progress: bool = False
    allocated_at: float | None = None
    actuated: Mapping[str, ResourceRequirements] = {}


NO_RESIZE: Final = ResourceRecord()


class PodRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pod that was admitted or rejected here; times in seconds since the epoch.

    `pod` holds the status as last computed. `terminating_since`: when the end was first seen, from which the
    grace period counts. `gone`: no source wants it any more. `rejection`: reason and message of a refused or
    failed pod; `disrupted`: it was the node's own affair; `makes_room_for`: the uid of the pod that starts
    once this one has ended. `pre_stopped`, `post_started`: ids of the containers whose preStop or postStart
    hook is behind them; None: nobody has noted any.
    """

    version: int = FORMAT_VERSION
    pod: Pod
    start_time: float
    terminating_since: float | None = None
    gone: bool = False
    rejection: tuple[str, str] | None = None
    disrupted: bool = False
    makes_room_for: str = ""
    pre_stopped: tuple[str, ...] = ()
    post_started: tuple[str, ...] | None = None
    resources: ResourceRecord = NO_RESIZE


class RecordError(Exception):
    """The bytes are no record this version can read."""


def encode_record(record: PodRecord) -> bytes:
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> PodRecord:
    """The record; raises RecordError."""
    try:
        record = msgspec.json.decode(data, type=PodRecord)
    except msgspec.MsgspecError as error:
        raise RecordError(f"no pod record: {error}") from error
    if record.version != FORMAT_VERSION:
        raise RecordError(f"a pod record of version {record.version}, but this agent reads {FORMAT_VERSION}")
    if not record.pod.metadata.uid:
        raise RecordError("a pod record without a uid")
    return record
