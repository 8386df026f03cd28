"""The pod half of an agent on fakes: a runtime, an API server's pods, images, volumes, probes and files in
memory.

Used by the simulations, on virtual time. The agent may crash and start again at any moment: the runtime, the
API and the checkpoint survive it, nothing else does.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.journal.store import NoJournal, PodJournal
from agent.pods.config.dns_config import Resolver
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.execute import Executor, NodeView
from agent.pods.hooks import HookRunner
from agent.pods.lanes.lane import LaneTools
from agent.pods.lanes.lanes import PodLanes
from agent.pods.status.pod_status import NodeFacts
from agent.pods.status.writer import StatusWriter
from agent.proxy.drain import NoDrain
from agent.runtime.relist import Relist
from kubeapi.core import Node
from kubeapi.meta import format_time
from kubeapi.pod import Pod, PodStatus, PodUID
from tests.builders import NOW
from tests.fakes.fake_runtime import FakeRuntime
from tests.simulation.agent.pod_fakes import (
    EventLog,
    FakeConfig,
    FakeFiles,
    FakeImages,
    FakePods,
    FakeProbes,
    FakeVolumes,
    MemoryCheckpoint,
    Steps,
)
from tests.simulation.agent.virtual_time import wall_clock

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


@dataclass(frozen=True, slots=True)
class GracePromise:
    """When a pod's end was asked for, and how long its processes have from then."""

    told_at: float
    grace_seconds: int

    @property
    def kill_at(self) -> float:
        return self.told_at + self.grace_seconds


class PodWorld:
    """`start` and `crash` the agent as often as you like; everything else stays."""

    def __init__(self, seed: int = 0, max_pods: int = 110) -> None:
        self.random = random.Random(seed)
        self.runtime = FakeRuntime(now=wall_clock, latency_seconds=0.05, answer_seconds=0.003)
        self.steps = Steps()
        self.api = FakePods(steps=self.steps)
        self.images, self.probes = FakeImages(steps=self.steps), FakeProbes()
        self.volumes = FakeVolumes(steps=self.steps, is_used=self._is_used)
        self.files = FakeFiles(steps=self.steps, is_used=self._is_used)
        self.checkpoint, self.events = MemoryCheckpoint(), EventLog()
        self.statics: dict[PodUID, Pod] = {}
        self.promises: dict[PodUID, GracePromise] = {}
        self.watch_delays: Callable[[], tuple[float, ...]] = lambda: (0.0,)
        self.api.on_gone = self._note_gone
        self.max_pods = max_pods
        self.machine: Node | None = None  # with as much room as pods ask for
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: StatusWriter | None = None
        self.lanes: PodLanes | None = None
        self.journal: PodJournal = NoJournal()

    # --- the agent ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process: it has the checkpoint, the runtime and, where that is reachable, the API."""
        self.runtime.caller += 1
        self.volumes.forget()
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
            drain=NoDrain(),
            executor=executor,
            probes=self.probes,
            checkpoint=self.checkpoint,
            status_writer=self._writer,
            events=self.events,
            node_facts=lambda: NodeFacts(("192.168.0.1",)),
            read_message=lambda annotations, status: "",
            now=wall_clock,
            random=self.random.random,
            journal=self.journal,
        )
        lanes = PodLanes(tools, FakeConfig(), read_node=lambda: self.machine, max_pods=self.max_pods)
        self.lanes = lanes
        lanes.restore(self.checkpoint.read_all())
        for static in self.statics.values():
            lanes.set_pod(static)
        lanes.keep_only(tuple(self.statics), static=True)
        if self.api.reachable:
            self.sync()
        relist = Relist(self.runtime, lanes.note_relist)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(lanes.run()), loop.create_task(relist.run())]

    @property
    def running(self) -> bool:
        return self.lanes is not None

    def sync(self) -> None:
        """The informer has its first list: every pod is told, what isn't there is dropped, orphans too."""
        assert self.lanes is not None
        for uid in tuple(self.api.pods):
            if (pod := self.api.read(uid)) is not None:
                self.lanes.set_pod(pod)
        self.lanes.keep_only(tuple(self.api.pods), static=False)
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
        promise = self.promises.get(uid)
        if promise is not None and promise.grace_seconds <= grace_seconds:
            return
        told_at = promise.told_at if promise is not None else wall_clock()
        self.promises[uid] = GracePromise(told_at, grace_seconds)
        metadata = msgspec.structs.replace(
            pod.metadata, deletion_timestamp=format_time(NOW), deletion_grace_period_seconds=grace_seconds
        )
        self.api.pods[uid] = msgspec.structs.replace(pod, metadata=metadata)
        self._tell(uid)

    def delete_by_force(self, uid: PodUID) -> None:
        """The object vanishes at once, whatever runs."""
        del self.api.pods[uid]
        self.promises[uid] = GracePromise(wall_clock(), 0)
        self._note_gone(uid)

    def set_static(self, pod: Pod) -> PodUID:
        """A manifest in the agent's directory."""
        self.statics[pod.uid] = pod
        if self.lanes is not None:
            self.lanes.set_pod(pod)
        return pod.uid

    def remove_static(self, uid: PodUID) -> None:
        if self.statics.pop(uid, None) is None:
            return
        # The file may come back, as a pod that begins anew.
        names = self.runtime.refused_names
        self.runtime.refused_names = [refused for refused in names if uid not in refused[1].split("_")]
        if self.lanes is not None:
            self.lanes.remove_pod(uid)

    # --- the watch ------------------------------------------------------------------------------------------

    def _tell(self, uid: PodUID) -> None:
        if (pod := self.api.read(uid)) is not None:
            self._send(lambda lanes: lanes.set_pod(pod))

    def _note_gone(self, uid: PodUID) -> None:
        self._send(lambda lanes: lanes.remove_pod(uid))

    def _send(self, event: Callable[[PodLanes], None]) -> None:
        """To the agent that runs now, as often and as late as the watch has it."""
        if self.lanes is None or not self.api.reachable:
            return
        lanes = self.lanes
        for delay in self.watch_delays():
            if delay:
                asyncio.get_running_loop().call_later(delay, self._deliver, event, lanes)
            else:
                event(lanes)

    def _deliver(self, event: Callable[[PodLanes], None], lanes: PodLanes) -> None:
        if lanes is self.lanes and self.api.reachable:
            event(lanes)

    # --- the observer ---------------------------------------------------------------------------------------

    def _is_used(self, uid: PodUID) -> bool:
        return any(container.pod_uid == uid for container in self.runtime.live_containers())

    def find_leaks(self) -> list[str]:
        """What is left once all pods are gone and the agent has crashed for the last time."""
        leaks = {
            "the runtime": self.runtime.is_empty and not self.runtime.busy,
            "volumes": not self.volumes.prepared,
            "files": not self.files.pods,
            "records": not self.checkpoint.records,
            "targets of probes": not self.probes.targets,
        }
        return [what for what, clean in leaks.items() if not clean]

    def find_violations(self) -> list[str]:
        """Every rule that was broken so far."""
        found = [*self.runtime.violations, *self.volumes.violations, *self.files.violations]
        for (caller, name), times in Counter(self.runtime.refused_names).items():
            # A late event may bring a pod that was deleted back to an agent that has forgotten it.
            if times > (2 if self.promises.keys() & set(name.split("_")) else 1):
                found.append(f"agent {caller} met the reserved name {name} {times} times")
        for kill in self.runtime.kills:
            promise = self.promises.get(kill.pod_uid)
            if promise is None or not kill.started_at <= promise.told_at <= kill.asked_at:
                continue
            if kill.at < promise.kill_at - 0.01:
                found.append(
                    f"{kill.container} of {kill.pod_uid} lost {promise.kill_at - kill.at:.2f} s of grace"
                )
        return found

    def count_statuses(self) -> int:
        """How many pods the status writer remembers."""
        return len(self._writer._entries) if self._writer is not None else 0

    def shows_ready(self, uid: PodUID) -> bool:
        """In the API, or for a static pod, which has no mirror here, in the agent's own eyes."""
        if uid not in self.statics:
            return self.is_ready(uid)
        pods = () if self.lanes is None else self.lanes.pods()
        conditions = (c for pod in pods if pod.uid == uid for c in pod.status.conditions)
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    def list_readiness(self, uid: PodUID) -> list[str]:
        """The Ready condition at each write of the pod's status."""
        return [
            condition["status"]
            for status in self.api.history.get(uid, [])
            for condition in status.get("conditions") or []
            if condition["type"] == "Ready"
        ]

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
