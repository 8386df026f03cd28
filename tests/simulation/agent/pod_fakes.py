"""Fakes around the pod half of an agent: the API server's pods, images, volumes, probes, files and the
checkpoint in memory.

Used by `pod_world`. They obey semantics, note what breaks their rules in `violations`, and meet scripted
trouble before, in the middle of or after their effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from agent.checkpoint.records import PodRecord, decode_record, encode_record
from agent.pods.pod_events import PodEvent
from agent.pods.pod_files import ContainerFiles
from agent.pods.ports import HostVolume, LocalImage, ProbeFailure, ProbeTarget, ProbeVerdict, Unavailable
from agent.resources.pod_limits import PodLimits
from kubeapi.errors import Unreachable
from kubeapi.meta import ObjectKey
from kubeapi.pod import Container, Pod, PodStatus, PodUID

READY = ProbeVerdict(started=True, ready=True, live=True)
_SLOW_SECONDS = 90.0
_FOR_EVER = 1e9


class Trouble(Enum):
    """What a scripted step meets."""

    FAILS_BEFORE = "fails before"
    FAILS_AFTER = "fails after"
    SLOW = "slow"
    HANGS = "hangs"


@dataclass(slots=True)
class Steps:
    """Each step of a fake passes here: `on_step` is asked what it meets, `on_done` told of its effect.

    A true answer of `on_done` holds the answer back, so that the caller may die before it.
    """

    on_step: Callable[[str], Trouble | None] = lambda step: None
    on_done: Callable[[str], bool] = lambda step: False

    async def begin(self, step: str) -> Trouble | None:
        trouble = self.on_step(step)
        match trouble:
            case Trouble.FAILS_BEFORE:
                raise OSError(5, f"{step}: scripted failure")
            case Trouble.HANGS:
                await asyncio.sleep(_FOR_EVER)
            case Trouble.SLOW:
                await asyncio.sleep(_SLOW_SECONDS)
            case _:
                await asyncio.sleep(0)
        return trouble

    async def end(self, step: str, trouble: Trouble | None) -> None:
        if self.on_done(step):
            await asyncio.sleep(1)
        if trouble is Trouble.FAILS_AFTER:
            raise OSError(5, f"{step}: scripted failure of the answer")


@dataclass(slots=True)
class FakePods:
    """The API server's pods, with merge patches of their status."""

    pods: dict[PodUID, Pod] = field(default_factory=dict)
    statuses: dict[PodUID, dict[str, Any]] = field(default_factory=dict)
    history: dict[PodUID, list[dict[str, Any]]] = field(default_factory=dict)
    reachable: bool = True
    steps: Steps = field(default_factory=Steps)
    on_gone: Callable[[PodUID], None] = lambda uid: None

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        await self._cross()
        if pod.uid not in self.pods:
            return None
        status = self.statuses.setdefault(pod.uid, {})
        for key, value in patch["status"].items():
            match key:
                case "conditions":
                    merged = {condition["type"]: condition for condition in status.get(key, [])}
                    for condition in value or []:
                        if condition.pop("$patch", "") == "delete":
                            merged.pop(condition["type"], None)
                        else:
                            kind = condition["type"]
                            merged[kind] = {**merged.get(kind, {}), **condition}
                    status[key] = list(merged.values())
                case "podIPs" if value:
                    status[key] = [ip for ip in value if "$patch" not in ip]
                case _ if value is None:
                    status.pop(key, None)
                case _:
                    status[key] = value
        self.history.setdefault(pod.uid, []).append(msgspec.json.decode(msgspec.json.encode(status)))
        return self.read(pod.uid)

    async def delete_pod(self, pod: Pod) -> None:
        await self._cross()
        if self.pods.pop(pod.uid, None) is not None:
            self.on_gone(pod.uid)
        if self.steps.on_done("DeletePod"):
            await asyncio.sleep(1)

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        await self._cross()
        pod = msgspec.convert(dict(document), Pod)
        self.pods[pod.uid] = pod
        return pod

    async def _cross(self) -> None:
        await asyncio.sleep(0.002)
        if not self.reachable:
            raise Unreachable("the API server is away")

    def read(self, uid: PodUID) -> Pod | None:
        """The pod as the API shows it, status included."""
        pod = self.pods.get(uid)
        if pod is None:
            return None
        return msgspec.structs.replace(pod, status=self.status(uid))

    def status(self, uid: PodUID) -> PodStatus:
        return msgspec.convert(_without_nulls(self.statuses.get(uid, {})), PodStatus)


def _without_nulls(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_nulls(value) for key, value in document.items() if value is not None}
    return [_without_nulls(item) for item in document] if isinstance(document, list) else document


@dataclass(slots=True)
class FakeImages:
    refusals: dict[str, Unavailable] = field(default_factory=dict)
    seconds: float = 0.0
    steps: Steps = field(default_factory=Steps)

    async def ensure_image(self, pod: Pod, container: Container) -> LocalImage:
        await self.steps.end("EnsureImage", await self.steps.begin("EnsureImage"))
        await asyncio.sleep(self.seconds)
        if (refusal := self.refusals.get(container.image)) is not None:
            raise refusal
        return LocalImage(container.image, 0, "")


@dataclass(slots=True)
class FakeVolumes:
    """`is_used` tells whether processes of the pod run, under whom nothing may be taken away."""

    prepared: set[PodUID] = field(default_factory=set)
    refusals: dict[PodUID, Unavailable] = field(default_factory=dict)
    hanging: set[PodUID] = field(default_factory=set)
    steps: Steps = field(default_factory=Steps)
    is_used: Callable[[PodUID], bool] = lambda uid: False
    violations: list[str] = field(default_factory=list)

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        if pod.uid in self.hanging:
            await asyncio.sleep(1_000_000)
        if (refusal := self.refusals.get(pod.uid)) is not None:
            raise refusal
        trouble = await self.steps.begin("PrepareVolumes")
        self.prepared.add(pod.uid)
        await self.steps.end("PrepareVolumes", trouble)
        return {volume.name: HostVolume(Path("/volumes") / volume.name) for volume in pod.spec.volumes}

    def forget(self) -> None:
        """A new agent has only what is on the disk."""

    async def refresh_volumes(self, pod: Pod) -> None:
        await self.steps.end("RefreshVolumes", await self.steps.begin("RefreshVolumes"))

    async def remove_volumes(self, uid: PodUID) -> None:
        trouble = await self.steps.begin("RemoveVolumes")
        if self.is_used(uid):
            self.violations.append(f"the volumes of {uid} were removed under its processes")
        self.prepared.discard(uid)
        await self.steps.end("RemoveVolumes", trouble)


class FakeConfig:
    def retain(self, pod: Pod) -> None:
        pass

    def release(self, uid: PodUID) -> None:
        pass

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return None

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return None


@dataclass(slots=True)
class FakeProbes:
    verdicts: dict[str, ProbeVerdict] = field(default_factory=dict)
    targets: dict[PodUID, tuple[ProbeTarget, ...]] = field(default_factory=dict)

    def set_targets(self, uid: PodUID, targets: tuple[ProbeTarget, ...]) -> None:
        self.targets[uid] = targets
        if not targets:
            del self.targets[uid]

    def verdict(self, target: ProbeTarget) -> ProbeVerdict:
        return self.verdicts.get(target.container.name, READY)

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        pass

    def subscribe_failures(self, handler: Callable[[ProbeFailure], None]) -> None:
        pass


@dataclass(slots=True)
class FakeFiles:
    """Directories, cgroups and logs of pods, all as one thing."""

    steps: Steps = field(default_factory=Steps)
    is_used: Callable[[PodUID], bool] = lambda uid: False
    violations: list[str] = field(default_factory=list)
    pods: set[PodUID] = field(default_factory=set)
    limits: dict[PodUID, PodLimits] = field(default_factory=dict)

    async def prepare_pod(self, pod: Pod) -> None:
        trouble = await self.steps.begin("PreparePod")
        self.pods.add(pod.uid)
        await self.steps.end("PreparePod", trouble)

    async def limit_pod(self, pod: Pod, limits: PodLimits) -> None:
        self.pods.add(pod.uid)
        self.limits[pod.uid] = limits

    async def prepare_container(
        self,
        pod: Pod,
        container: str,
        attempt: int,
        pod_ips: tuple[str, ...],
        sub_paths: tuple[tuple[Path, str], ...],
    ) -> ContainerFiles:
        self.pods.add(pod.uid)
        return ContainerFiles(Path("/hosts"), Path(f"/{container}/{attempt}"), tuple(p for p, _ in sub_paths))

    async def remove_log(self, path: Path) -> None:
        pass

    async def remove_pod(self, pod: Pod) -> None:
        trouble = await self.steps.begin("RemovePodFiles")
        if self.is_used(pod.uid):
            self.violations.append(f"the files of {pod.uid} were removed under its processes")
        self.pods.discard(pod.uid)
        await self.steps.end("RemovePodFiles", trouble)


@dataclass(slots=True)
class MemoryCheckpoint:
    """What is on disk, as bytes."""

    records: dict[PodUID, bytes] = field(default_factory=dict)

    def save(self, record: PodRecord) -> None:
        self.records[record.pod.uid] = encode_record(record)

    def remove(self, uid: PodUID) -> None:
        self.records.pop(uid, None)

    def read_all(self) -> list[PodRecord]:
        return [decode_record(data) for data in self.records.values()]


@dataclass(slots=True)
class EventLog:
    events: list[PodEvent] = field(default_factory=list)

    def record(self, pod: Pod, event: PodEvent) -> None:
        self.events.append(event)
