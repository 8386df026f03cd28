"""The pod half of the agent, joined: lanes, sources, images, volumes, probes, statuses and checkpoint.

Does IO by what it joins. Made by `agent.app`, which runs its loops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Mapping
from typing import Final

from agent.checkpoint.store import FileCheckpoint
from agent.errors import AgentError
from agent.foundation import Foundation, Loop
from agent.images.source import CRIImages
from agent.node.facts import read_machine_facts
from agent.node.reporter import NodeReporter
from agent.pods.dns_config import Resolver, parse_resolv_conf
from agent.pods.execute import Executor, NodeView
from agent.pods.goal import is_mirror, is_static
from agent.pods.hooks import HookRunner
from agent.pods.lane import LaneTools
from agent.pods.lanes import PodLanes
from agent.pods.mirror import MirrorKeeper
from agent.pods.pod_api import KubePodApi
from agent.pods.pod_files import LocalPodFiles
from agent.pods.recorder import RecordedPodEvents
from agent.pods.sandbox_config import PodEnvironment
from agent.pods.sources import ApiSource, StaticSource
from agent.pods.status import NodeFacts
from agent.pods.status_writer import StatusWriter
from agent.pods.termination_log import read_termination_message
from agent.probes.check import ProbeCheck
from agent.probes.loop_lag import LoopLag
from agent.probes.runner import TaskProbeRunner
from agent.probes.verdict import compute_stored_results
from agent.resources.pod_cgroups import PodCgroups, read_cgroup_facts
from agent.runtime.relist import Relist, watch_hints
from agent.settings import AgentSettings
from agent.volumes.blocking import BlockingWork
from agent.volumes.config_api import KubeConfigApi, KubeTokens
from agent.volumes.config_objects import WatchedConfig
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.events import EventRecorder
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)

_SERVICES_WAIT_SECONDS: Final = 10.0
_RESYNC_SECONDS: Final = 60.0


class JoinedPods:
    """`start` and then its loops; `aclose` ends what it began, and no pod."""

    def __init__(self, foundation: Foundation, reporter: NodeReporter, recorder: EventRecorder) -> None:
        settings, runtime = foundation.settings, foundation.runtime
        self.foundation = foundation
        self.checkpoint = FileCheckpoint(settings.root_dir)
        self.records = self.checkpoint.read_all()
        self.config = WatchedConfig(KubeConfigApi(foundation.client))
        self.images = CRIImages(runtime, time.monotonic)
        self.probes = TaskProbeRunner(
            ProbeCheck(runtime, LoopLag()),
            time.time,
            compute_stored_results(record.pod for record in self.records),
        )
        self.api = KubePodApi(foundation.client)
        self.status_writer = StatusWriter(self.api, self._find_object, random.random)
        self.mirrors = MirrorKeeper(self.api, lambda: reporter.node_uid, self._note_mirror)
        self.lanes = PodLanes(
            self._build_tools(reporter, RecordedPodEvents(recorder)),
            self.config,
            read_node=lambda: foundation.informers.nodes.get(ObjectKey("", settings.node_name)),
            max_pods=settings.max_pods,
        )
        self.relist = Relist(runtime, self.lanes.note_relist)
        self.static = self._build_static_source(settings)

    def _build_tools(self, reporter: NodeReporter, events: RecordedPodEvents) -> LaneTools:
        foundation, environment = self.foundation, _build_environment(self.foundation.settings)
        tokens = ServiceAccountTokens(KubeTokens(foundation.client), time.time)
        volumes = PodVolumes(
            foundation.settings.root_dir, self.config, tokens, BlockingWork(), reporter.allocatable
        )
        cgroups = PodCgroups(read_cgroup_facts(), foundation.settings.cgroup_root)
        services = foundation.informers.services
        executor = Executor(
            runtime=foundation.runtime,
            images=self.images,
            volumes=volumes,
            config=self.config,
            files=LocalPodFiles(environment, cgroups),
            hooks=HookRunner(foundation.runtime),
            api=self.api,
            status_writer=self.status_writer,
            environment=environment,
            read_node=lambda: NodeView(
                (foundation.node_ip,), tuple(services.objects().values()), reporter.allocatable()
            ),
            now=time.time,
        )
        return LaneTools(
            executor=executor,
            probes=self.probes,
            checkpoint=self.checkpoint,
            status_writer=self.status_writer,
            events=events,
            node_facts=lambda: NodeFacts((foundation.node_ip,), foundation.version.name),
            read_message=read_termination_message,
            now=time.time,
            random=random.random,
        )

    def _build_static_source(self, settings: AgentSettings) -> StaticSource | None:
        if settings.static_pod_path is None:
            return None
        return StaticSource(
            settings.static_pod_path, settings.node_name, self.lanes, self.mirrors.set_statics, time.time
        )

    def _find_object(self, pod: Pod) -> Pod | None:
        """Where the pod's status goes: its object in the API, or its mirror."""
        if is_static(pod):
            return self.mirrors.find_mirror(pod)
        found = self.foundation.informers.pods.get(pod.key)
        return found if found is not None and found.uid == pod.uid else None

    def _note_mirror(self, pod: Pod, mirror: Pod) -> None:
        self.status_writer.note_object(pod, mirror)

    def _note_pod(self, change: Change[Pod]) -> None:
        """After the lanes, so that a status is sent again only as it is now. Mirrors tell of themselves."""
        if change.new is not None and not is_mirror(change.new):
            self.status_writer.note_object(change.new, change.new)

    def start(self) -> None:
        """Remembered pods first: they go on whether or not anybody else answers."""
        self.probes.subscribe(self.lanes.note_verdict)
        self.probes.subscribe_failures(self.lanes.note_probe_failure)
        self.config.subscribe(self.lanes.note_config)
        self.lanes.restore(self.records)

    async def feed(self) -> None:
        """Opens the sources; once both are complete, what they don't want goes."""
        if self.static is None:
            self.lanes.keep_only((), static=True)
        elif await self.static.scan():
            self.lanes.keep_only(self.static.pods.keys(), static=True)
        informers = self.foundation.informers
        await _wait_a_while(informers.services.wait_until_synced())
        informers.pods.subscribe(ApiSource(self.lanes, self.mirrors.note_mirror).note_change)
        informers.pods.subscribe(self._note_pod)
        await informers.pods.wait_until_synced()
        self.lanes.keep_only({pod.uid for pod in informers.pods.objects().values()}, static=False)
        self.lanes.adopt_orphans()
        await self.mirrors.run()

    async def resync(self) -> None:
        """Contents of volumes are looked at again from time to time, tokens among them."""
        while True:
            await asyncio.sleep(_RESYNC_SECONDS * (0.9 + 0.2 * random.random()))
            self.lanes.refresh_volumes()

    def list_loops(self) -> Mapping[str, Loop]:
        runtime = self.foundation.runtime
        loops: dict[str, Loop] = {
            "checkpoint": self.checkpoint.run,
            "pods": self.lanes.run,
            "relist": self.relist.run,
            "container events": lambda: watch_hints(runtime.watch_container_events, self.lanes.note_event),
            "pod sources": self.feed,
            "volume refresh": self.resync,
        }
        return loops if self.static is None else {**loops, "static pods": self.static.run}

    async def aclose(self) -> None:
        await self.probes.aclose()
        await self.images.aclose()
        await self.config.aclose()
        await self.status_writer.aclose()


async def _wait_a_while(awaitable: Awaitable[None]) -> None:
    """Variables of Services are worth a short wait, not more: pods must start without them too."""
    try:
        async with asyncio.timeout(_SERVICES_WAIT_SECONDS):
            await awaitable
    except TimeoutError:
        _logger.warning("pods start without the Services' variables: the API server doesn't answer")


def _build_environment(settings: AgentSettings) -> PodEnvironment:
    return PodEnvironment(
        node_name=settings.node_name,
        root_dir=settings.root_dir,
        pod_logs_dir=settings.pod_logs_dir,
        cgroup_root=settings.cgroup_root,
        cluster_dns=settings.cluster_dns,
        cluster_domain=settings.cluster_domain,
        host_resolver=_read_resolver(settings),
        memory_capacity_bytes=read_machine_facts(settings.root_dir).memory_total_bytes,
    )


def _read_resolver(settings: AgentSettings) -> Resolver:
    try:
        return parse_resolv_conf(settings.resolv_conf.read_text())
    except OSError as error:
        raise AgentError(
            f"the resolver file {settings.resolv_conf} can't be read: {error.strerror}; "
            "name another one with --resolv-conf"
        ) from error
