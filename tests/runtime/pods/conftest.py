"""The pod half of the agent on real containerd: everything is real but the API server and the ConfigMaps.

The agent's part may be killed (`crash`) and started again (`start`) inside the test's process.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from agent.checkpoint.store import FileCheckpoint
from agent.images.source import CRIImages
from agent.pods.config.dns_config import Resolver
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.execute import Executor, NodeView
from agent.pods.hooks import HookRunner
from agent.pods.lanes.lane import LaneTools
from agent.pods.lanes.lanes import PodLanes
from agent.pods.orphan_directories import OrphanDirectories
from agent.pods.pod_files import LocalPodFiles
from agent.pods.resize.wish import with_resources
from agent.pods.security.user_ids import IDS_PER_POD, IDPool
from agent.pods.security.user_namespaces import LocalUserNamespaces
from agent.pods.status.pod_status import NodeFacts
from agent.pods.status.writer import StatusWriter
from agent.pods.termination_log import read_termination_message
from agent.probes.check import ProbeCheck
from agent.probes.loop_lag import LoopLag
from agent.probes.runner import TaskProbeRunner
from agent.probes.verdict import compute_stored_results
from agent.proxy.drain import NoDrain
from agent.resources.pod_cgroups import PodCgroups, read_cgroup_facts
from agent.runtime.client import RuntimeClient
from agent.runtime.relist import Relist
from agent.volumes.blocking import BlockingWork
from agent.volumes.files import TokenRef
from agent.volumes.image_volumes import ImageVolumes
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import IssuedToken, ServiceAccountTokens
from kubeapi.core import Node, Service
from kubeapi.errors import Unreachable
from kubeapi.meta import ObjectKey, format_time
from kubeapi.pod import Container, Pod, PodSpec, PodStatus, PodUID, ResourceRequirements
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim
from lab.images import SHELL_IMAGE
from lab.runtime_node import RuntimeNode
from tests import builders
from tests.simulation.agent.pod_fakes import EventLog, FakePods

DEADLINE_SECONDS = 30.0
ALLOCATABLE = {"cpu": "7", "memory": "3Gi", "ephemeral-storage": "9Gi"}


class Configuration:
    """ConfigMaps and Secrets by key, as a test puts them."""

    def __init__(self) -> None:
        self.config_maps: dict[ObjectKey, dict[str, bytes]] = {}
        self.secrets: dict[ObjectKey, dict[str, bytes]] = {}

    def retain(self, pod: Pod) -> None:
        pass

    def release(self, uid: PodUID) -> None:
        pass

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return self.config_maps.get(key)

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return self.secrets.get(key)


class Claims:
    """PersistentVolumeClaims and PersistentVolumes as a test puts them; unless `reachable` nobody answers."""

    def __init__(self) -> None:
        self.claims: dict[ObjectKey, PersistentVolumeClaim] = {}
        self.volumes: dict[str, PersistentVolume] = {}
        self.reachable = True

    async def read_claim(self, key: ObjectKey) -> PersistentVolumeClaim | None:
        if not self.reachable:
            raise Unreachable("the API server is away")
        return self.claims.get(key)

    async def read_volume(self, name: str) -> PersistentVolume | None:
        return self.volumes.get(name)


class NoTokens:
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None


class PodHost:
    """One node's pods."""

    def __init__(self, node: RuntimeNode, client: RuntimeClient, root: Path) -> None:
        self.node = node
        self.client = client
        self.root = root
        self.api = FakePods()
        self.config = Configuration()
        self.claims = Claims()
        self.events = EventLog()
        self.services: tuple[Service, ...] = (builders.service(),)
        self.machine: Node | None = None  # with as much room as pods ask for
        self.api.on_gone = lambda uid: self.lanes.remove_pod(uid)
        self._tasks: list[asyncio.Task[None]] = []
        self._cgroups = PodCgroups(read_cgroup_facts(), node.cgroup_root)

    @property
    def log_root(self) -> Path:
        return self.node.paths.pod_logs_directory

    def start(self) -> None:
        """A new agent, which knows what is on disk, in the runtime and in the API."""
        checkpoint = FileCheckpoint(self.root)
        self._users = LocalUserNamespaces(self.root, IDPool(IDS_PER_POD, 110))
        self._users.read_all()
        records = checkpoint.read_all()
        self._writer = StatusWriter(self.api, lambda pod: self.api.read(pod.uid), random.random)
        stored = compute_stored_results(record.pod for record in records)
        self._probes = TaskProbeRunner(ProbeCheck(self.client, LoopLag(), self._cgroups), time.time, stored)
        tools = self._build_tools(checkpoint)
        self.lanes = PodLanes(tools, self.config, read_node=lambda: self.machine, max_pods=110)
        self._probes.subscribe(self.lanes.note_verdict)
        self._probes.subscribe_failures(self.lanes.note_probe_failure)
        self.lanes.restore(records)
        for uid in tuple(self.api.pods):
            self._tell(uid)
        self.lanes.keep_only(self.api.pods.keys(), static=False)
        self.lanes.adopt_orphans()
        relist = Relist(self.client, self.lanes.note_relist)
        directories = OrphanDirectories(self.root, self.log_root, self.lanes.note_directories)
        loop = asyncio.get_running_loop()
        loops = (checkpoint.run, self.lanes.run, relist.run, directories.run)
        self._tasks = [loop.create_task(run()) for run in loops]

    def _build_tools(self, checkpoint: FileCheckpoint) -> LaneTools:
        environment = PodEnvironment(
            node_name="node-1",
            root_dir=self.root,
            pod_logs_dir=self.log_root,
            cgroup_root=self.node.cgroup_root,
            cluster_dns="10.96.0.10",
            cluster_domain="cluster.local",
            host_resolver=Resolver(),
            memory_capacity_bytes=8 << 30,
        )
        tokens = ServiceAccountTokens(NoTokens(), time.time)
        images = CRIImages(self.client, time.monotonic)
        volumes = PodVolumes(
            self.root,
            self.config,
            tokens,
            BlockingWork(),
            dict,
            claims=self.claims,
            read_node=lambda: self.machine,
            images=ImageVolumes(images, self.client.read_version),
        )
        executor = Executor(
            runtime=self.client,
            images=images,
            volumes=volumes,
            config=self.config,
            files=LocalPodFiles(environment, self._cgroups),
            hooks=HookRunner(self.client, self._cgroups),
            api=self.api,
            status_writer=self._writer,
            environment=environment,
            read_node=lambda: NodeView((str(self.node.ip),), self.services, ALLOCATABLE),
            now=time.time,
            users=self._users,
        )
        return LaneTools(
            drain=NoDrain(),
            executor=executor,
            probes=self._probes,
            checkpoint=checkpoint,
            status_writer=self._writer,
            events=self.events,
            node_facts=lambda: NodeFacts((str(self.node.ip),)),
            read_message=read_termination_message,
            now=time.time,
            random=random.random,
        )

    async def crash(self) -> None:
        """The agent ends without a word; what it asked the runtime for may or may not happen."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._probes.aclose()
        await self._writer.aclose()

    # --- people ---------------------------------------------------------------------------------------------

    def create(self, pod: Pod) -> PodUID:
        self.api.pods[pod.uid] = pod
        self._tell(pod.uid)
        return pod.uid

    def delete(self, uid: PodUID, grace_seconds: int = 5) -> None:
        pod = self.api.pods[uid]
        metadata = msgspec.structs.replace(
            pod.metadata,
            deletion_timestamp=format_time(builders.NOW),
            deletion_grace_period_seconds=grace_seconds,
        )
        self.api.pods[uid] = msgspec.structs.replace(pod, metadata=metadata)
        self._tell(uid)

    def resize(self, uid: PodUID, **resources: ResourceRequirements) -> None:
        """The containers of these names want these resources from now on."""
        pod = self.api.pods[uid]
        metadata = msgspec.structs.replace(pod.metadata, generation=pod.metadata.generation + 1)
        resized = with_resources(pod, resources)
        self.api.pods[uid] = msgspec.structs.replace(resized, metadata=metadata)
        self._tell(uid)

    def _tell(self, uid: PodUID) -> None:
        pod = self.api.read(uid)
        assert pod is not None
        self.lanes.set_pod(pod)

    def status(self, uid: PodUID) -> PodStatus:
        return self.api.status(uid)

    def is_ready(self, uid: PodUID) -> bool:
        conditions = self.status(uid).conditions
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    async def wait(self, condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            statuses = {uid: self.status(uid) for uid in self.api.pods}
            raise AssertionError(f"not within {seconds} s: {statuses}; {self.events.events[-5:]}") from error

    async def wait_until_gone(self, uid: PodUID) -> None:
        await self.wait(lambda: uid not in self.api.pods and uid not in {p.uid for p in self.lanes.pods()})

    def read_log(self, pod: Pod, container: str = "main", attempt: int = 0) -> str:
        """What the container wrote, without the log's own columns."""
        meta = pod.metadata
        directory = self.log_root / f"{meta.namespace}_{meta.name}_{meta.uid}"
        lines = (directory / container / f"{attempt}.log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    async def find_leftovers(self, uid: PodUID) -> list[str]:
        """Everything on the machine that still names the pod."""
        sandboxes = await self.client.list_pod_sandboxes(uid)
        containers = await self.client.list_containers(uid)
        found = [str(entry) for entry in (*sandboxes, *containers)]
        found += [str(path) for path in self.log_root.glob(f"*{uid}*")]
        found += [str(path) for path in self.root.rglob(f"*{uid}*")]
        return found + [
            str(path)
            for hierarchy in read_cgroup_facts().hierarchies
            for path in (hierarchy.mount_point / self.node.cgroup_root.lstrip("/")).rglob(f"pod{uid}")
        ]


def new_pod(*command: str, name: str = "web", container: Mapping[str, Any] | None = None, **spec: Any) -> Pod:
    """A pod of one container `main` with the shell image; `command` is run by sh."""
    main = Container(
        name="main", image=SHELL_IMAGE, command=("sh", "-c", "\n".join(command)), **(container or {})
    )
    good = builders.pod(name, metadata={"uid": str(uuid.uuid4())})
    whole = PodSpec(**{"containers": (main,), "node_name": "node-1", **spec})
    return msgspec.structs.replace(good, spec=whole, status=PodStatus())


FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


@pytest_asyncio.fixture
async def host(runtime_node: RuntimeNode, tmp_path: Path) -> AsyncIterator[PodHost]:
    async with RuntimeClient(runtime_node.endpoint, node_name="node-1") as client:
        host = PodHost(runtime_node, client, tmp_path)
        host.start()
        yield host
        for uid in tuple(host.api.pods):
            host.delete(uid, grace_seconds=1)
            await host.wait_until_gone(uid)
        await host.crash()
