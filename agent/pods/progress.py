"""What a lane remembers between two looks: what is prepared, what failed, what is in flight.

Pure: frozen values; each change makes a new one. All of it may be lost: doing an idempotent action again
rebuilds it. Read by the plans and the status, changed by the lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeVar

from agent.pods.lanes.launch_queue import GRANTED, Turn
from agent.pods.ports import ContainerID, HostVolume, LocalImage, ProbeVerdict, SandboxID
from agent.resources.pod_limits import PodLimits

ValueT = TypeVar("ValueT")

UNPROBED: Final = ProbeVerdict(started=True, ready=True, live=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of one action key: a reason as the kubelet spells it, and when to try again.

    `first_at`: when the row of failures that this one continues began.
    """

    reason: str
    message: str
    since: float
    retry_at: float
    count: int = 1
    first_at: float | None = None


@dataclass(frozen=True, slots=True)
class InFlight:
    """A call that hasn't returned; shown to whoever asks what a pod waits for.

    `overdue`: once it takes too long, a sentence that says so.
    """

    what: str
    since: float
    kill_at: float | None = None
    target: str = ""
    overdue: str = ""


@dataclass(frozen=True, slots=True)
class ReadyImage:
    attempt: int
    image: LocalImage


@dataclass(frozen=True, slots=True)
class Progress:
    """`attempt_floors`: attempts below were refused because their name is reserved. Container ids in the
    sets. `released`: no Service sends clients to the pod any more, or it doesn't end.
    `turn`: whether the node has a place for its start.
    `unreadable`: what of the pod the runtime has not answered for some time, as a sentence.
    """

    volumes: Mapping[str, HostVolume] | None = None
    volumes_stale: bool = False
    volumes_removed: bool = False
    files_removed: bool = False
    object_deleted: bool = False
    images: Mapping[str, ReadyImage] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    attempt_floors: Mapping[str, int] = field(default_factory=dict)
    pre_stopped: frozenset[ContainerID] = frozenset()
    post_started: frozenset[ContainerID] = frozenset()
    hook_failed: frozenset[ContainerID] = frozenset()
    in_flight: Mapping[str, InFlight] = field(default_factory=dict)
    stopped: frozenset[SandboxID | ContainerID] = frozenset()
    verdicts: Mapping[ContainerID, ProbeVerdict] = field(default_factory=dict)
    released: bool = True
    pod_limits: PodLimits | None = None
    unreadable: str = ""
    unreadable_since: float | None = None
    turn: Turn = GRANTED

    @property
    def volumes_ready(self) -> bool:
        return self.volumes is not None

    def verdict(self, container_id: ContainerID) -> ProbeVerdict:
        """A container without probes is started, ready and live as long as it runs."""
        return self.verdicts.get(container_id, UNPROBED)

    def with_failure(self, key: str, failure: Failure) -> Progress:
        return replace(self, failures=with_entry(self.failures, key, failure))

    def without_failure(self, key: str) -> Progress:
        return replace(self, failures=without_entry(self.failures, key))


def with_entry(mapping: Mapping[str, ValueT], key: str, value: ValueT) -> Mapping[str, ValueT]:
    return MappingProxyType({**mapping, key: value})


def without_entry(mapping: Mapping[str, ValueT], key: str) -> Mapping[str, ValueT]:
    if key not in mapping:
        return mapping
    return MappingProxyType({name: value for name, value in mapping.items() if name != key})
