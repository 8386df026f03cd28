"""The pod half of an agent on fakes: a runtime, an API server's pods, images, volumes, probes and files in
memory.

Used by the simulations, on virtual time. The agent may crash and start again at any moment: the runtime, the
API and the checkpoint survive it, nothing else does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.checkpoint.records import PodRecord, decode_record, encode_record
from agent.pods.dns_config import Resolver
from agent.pods.execute import Executor, NodeView
from agent.pods.hooks import HookRunner
from agent.pods.lane import LaneTools
from agent.pods.lanes import PodLanes
from agent.pods.pod_events import PodEvent
from agent.pods.pod_files import ContainerFiles
from agent.pods.ports import HostVolume, LocalImage, ProbeFailure, ProbeTarget, ProbeVerdict, Unavailable
from agent.pods.sandbox_config import PodEnvironment
from agent.pods.status import NodeFacts
from agent.pods.status_writer import StatusWriter
from agent.runtime.relist import Relist
from kubeapi.errors import Unreachable
from kubeapi.meta import ObjectKey, format_time
from kubeapi.pod import Container, Pod, PodStatus, PodUID
from tests.builders import NOW
from tests.fakes.fake_runtime import FakeRuntime
from tests.simulation.agent.virtual_time import wall_clock

READY = ProbeVerdict(started=True, ready=True, live=True)


@dataclass(slots=True)
class FakePods:
    """The API server's pods, with merge patches of their status."""

    pods: dict[PodUID, Pod] = field(default_factory=dict)
    statuses: dict[PodUID, dict[str, Any]] = field(default_factory=dict)
    history: dict[PodUID, list[dict[str, Any]]] = field(default_factory=dict)
    reachable: bool = True
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
                    merged |= {c["type"]: {**merged.get(c["type"], {}), **c} for c in value or []}
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

    async def ensure_image(self, pod: Pod, container: Container) -> LocalImage:
        await asyncio.sleep(self.seconds)
        if (refusal := self.refusals.get(container.image)) is not None:
            raise refusal
        return LocalImage(container.image, 0, "")


@dataclass(slots=True)
class FakeVolumes:
    prepared: set[PodUID] = field(default_factory=set)
    refusals: dict[PodUID, Unavailable] = field(default_factory=dict)
    hanging: set[PodUID] = field(default_factory=set)

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        if pod.uid in self.hanging:
            await asyncio.sleep(1_000_000)
        if (refusal := self.refusals.get(pod.uid)) is not None:
            raise refusal
        self.prepared.add(pod.uid)
        return {volume.name: HostVolume(Path("/volumes") / volume.name) for volume in pod.spec.volumes}

    async def refresh_volumes(self, pod: Pod) -> None:
        await asyncio.sleep(0)

    async def remove_volumes(self, uid: PodUID) -> None:
        self.prepared.discard(uid)


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

    def set_targets(self, uid: PodUID, targets: tuple[ProbeTarget, ...]) -> None:
        pass

    def verdict(self, target: ProbeTarget) -> ProbeVerdict:
        return self.verdicts.get(target.container.name, READY)

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        pass

    def subscribe_failures(self, handler: Callable[[ProbeFailure], None]) -> None:
        pass


@dataclass(slots=True)
class FakeFiles:
    pods: set[PodUID] = field(default_factory=set)

    async def prepare_pod(self, pod: Pod) -> None:
        self.pods.add(pod.uid)

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
        self.pods.discard(pod.uid)


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


ENVIRONMENT = PodEnvironment(
    node_name="node-1",
    root_dir=Path("/var/lib/berth"),
    pod_logs_dir=Path("/var/log/pods"),
    cgroup_root="/",
    cluster_dns="10.96.0.10",
    cluster_domain="cluster.local",
    host_resolver=Resolver(),
    memory_capacity_bytes=8 << 30,
)


class PodWorld:
    """`start` and `crash` the agent as often as you like; everything else stays."""

    def __init__(self, seed: int = 0, max_pods: int = 110) -> None:
        self.random = random.Random(seed)
        self.runtime = FakeRuntime(now=wall_clock, latency_seconds=0.05, answer_seconds=0.003)
        self.api = FakePods()
        self.images, self.volumes, self.probes = FakeImages(), FakeVolumes(), FakeProbes()
        self.files, self.checkpoint, self.events = FakeFiles(), MemoryCheckpoint(), EventLog()
        self.api.on_gone = self._note_gone
        self._max_pods = max_pods
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: StatusWriter | None = None
        self.lanes: PodLanes | None = None

    # --- the agent ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process: it has the checkpoint, the runtime and, where that is reachable, the API."""
        self._writer = StatusWriter(self.api, lambda pod: self.api.read(pod.uid), self.random.random)
        executor = Executor(
            runtime=self.runtime,
            images=self.images,
            volumes=self.volumes,
            config=FakeConfig(),
            files=self.files,
            hooks=HookRunner(self.runtime),
            api=self.api,
            status_writer=self._writer,
            environment=ENVIRONMENT,
            read_node=lambda: NodeView(("192.168.0.1",), (), {}),
            now=wall_clock,
        )
        tools = LaneTools(
            executor=executor,
            probes=self.probes,
            checkpoint=self.checkpoint,
            status_writer=self._writer,
            events=self.events,
            node_facts=lambda: NodeFacts(("192.168.0.1",)),
            read_message=lambda annotations, status: "",
            now=wall_clock,
            random=self.random.random,
        )
        lanes = PodLanes(tools, FakeConfig(), read_node=lambda: None, max_pods=self._max_pods)
        self.lanes = lanes
        lanes.restore(self.checkpoint.read_all())
        if self.api.reachable:
            self.sync()
        relist = Relist(self.runtime, lanes.note_relist)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(lanes.run()), loop.create_task(relist.run())]

    def sync(self) -> None:
        """The informer has its first list: every pod is told, what isn't there is dropped, orphans too."""
        assert self.lanes is not None
        known = {pod.uid for pod in self.lanes.pods()}
        for uid in tuple(self.api.pods):
            self._tell(uid)
        for uid in known - self.api.pods.keys():
            self.lanes.remove_pod(uid)
        self.lanes.adopt_orphans()

    async def crash(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            await self._writer.aclose()
        self._tasks, self.lanes = [], None

    # --- the people -----------------------------------------------------------------------------------------

    def create(self, pod: Pod) -> PodUID:
        self.api.pods[pod.uid] = msgspec.structs.replace(pod, status=PodStatus())
        self._tell(pod.uid)
        return pod.uid

    def delete(self, uid: PodUID, grace_seconds: int = 30) -> None:
        pod = self.api.pods[uid]
        metadata = msgspec.structs.replace(
            pod.metadata, deletion_timestamp=format_time(NOW), deletion_grace_period_seconds=grace_seconds
        )
        self.api.pods[uid] = msgspec.structs.replace(pod, metadata=metadata)
        self._tell(uid)

    def delete_by_force(self, uid: PodUID) -> None:
        """The object vanishes at once, whatever runs."""
        del self.api.pods[uid]
        self._note_gone(uid)

    def _tell(self, uid: PodUID) -> None:
        pod = self.api.read(uid)
        if self.lanes is not None and self.api.reachable and pod is not None:
            self.lanes.set_pod(pod)

    def _note_gone(self, uid: PodUID) -> None:
        if self.lanes is not None and self.api.reachable:
            self.lanes.remove_pod(uid)

    # --- the observer ---------------------------------------------------------------------------------------

    def is_ready(self, uid: PodUID) -> bool:
        conditions = self.api.status(uid).conditions
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    async def wait(self, condition: Callable[[], bool], seconds: float = 600.0, every: float = 0.01) -> float:
        """Virtual seconds until the condition holds; fails after `seconds`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not condition():
            if loop.time() - start > seconds:
                raise AssertionError(f"not within {seconds} s; the last calls: {self.runtime.calls[-8:]}")
            await asyncio.sleep(every)
        return loop.time() - start
