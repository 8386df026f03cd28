"""The pod half of the agent, joined: lanes, sources, images, volumes, probes, statuses and checkpoint.

Does IO by what it joins. Made by `agent.app`, which runs its loops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.checkpoint.boot import note_boot
from agent.checkpoint.store import FileCheckpoint
from agent.errors import AgentError
from agent.foundation import Foundation, Loop
from agent.images.source import CRIImages
from agent.journal.store import FileJournal
from agent.node.facts import is_app_armor_on, read_machine_facts
from agent.node.reporter import NodeReporter
from agent.pods.config.dns_config import Resolver, parse_resolv_conf
from agent.pods.config.sandbox_config import PodEnvironment
from agent.pods.execute import Executor, NodeView
from agent.pods.hooks import HookRunner
from agent.pods.lanes.lane import LaneTools
from agent.pods.lanes.lanes import PodLanes
from agent.pods.lanes.launch_queue import LaunchQueue
from agent.pods.orphan_directories import OrphanDirectories
from agent.pods.pod_files import LocalPodFiles
from agent.pods.security.runtime_class import RuntimeHandlers
from agent.pods.security.user_ids import IDPool, choose_pool
from agent.pods.security.user_namespaces import LocalUserNamespaces
from agent.pods.sources.sources import StaticSource
from agent.pods.status.pod_status import NodeFacts
from agent.pods.status.writer import StatusWriter
from agent.pods.termination_log import read_termination_message
from agent.probes.check import ProbeCheck
from agent.probes.loop_lag import LoopLag
from agent.probes.runner import TaskProbeRunner
from agent.probes.verdict import compute_stored_results
from agent.proxy.drain import LocalDrain, NoDrain
from agent.resources.pod_cgroups import PodCgroups, read_cgroup_facts
from agent.resources.qos_tiers import QosTiers
from agent.runtime.relist import Relist, watch_hints
from agent.runtime.values import HandlerFeatures
from agent.settings import AgentSettings, ProxyMode
from agent.volumes.blocking import BlockingWork
from agent.volumes.config_objects import WatchedConfig
from agent.volumes.image_volumes import ImageVolumes
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)

_RESYNC_SECONDS: Final = 60.0
_SUBUID: Final = Path("/etc/subuid")
_SUBGID: Final = Path("/etc/subgid")
_STARTS_PER_CORE: Final = 3  # more make each slower and none sooner: a start is work for the processor


class JoinedPods:
    """`start` and then its loops; `aclose` ends what it began, and no pod."""

    def __init__(self, foundation: Foundation, reporter: NodeReporter) -> None:
        settings, runtime = foundation.settings, foundation.runtime
        self.foundation = foundation
        self.checkpoint = FileCheckpoint(settings.root_dir)
        self.records = self.checkpoint.read_all()
        self.journal = FileJournal(settings.root_dir, settings.node_name, time.time)
        self.config = WatchedConfig(foundation.cluster.config)
        self.images = CRIImages(runtime, time.monotonic)
        self.cgroups = PodCgroups(read_cgroup_facts(), settings.cgroup_root)
        self.probes = TaskProbeRunner(
            ProbeCheck(runtime, LoopLag(), self.cgroups),
            time.time,
            compute_stored_results(record.pod for record in self.records),
        )
        self.status_writer = StatusWriter(
            foundation.cluster.pod_api, foundation.cluster.find_object, random.random
        )
        self.drain = LocalDrain()
        self.users = LocalUserNamespaces(settings.root_dir, _read_user_pool(settings))
        self.lanes = PodLanes(
            self._build_tools(reporter),
            self.config,
            read_node=lambda: foundation.cluster.nodes.get(ObjectKey("", settings.node_name)),
            max_pods=settings.max_pods,
            app_armor=is_app_armor_on(),
            read_features=lambda pod: _find_features(pod, foundation.cluster.runtime_handlers, reporter),
        )
        self.directories = OrphanDirectories(
            settings.root_dir, settings.pod_logs_dir, self.lanes.note_directories
        )
        self.relist = Relist(runtime, self.lanes.note_relist)
        reporter.watch_pods(self.relist.find_stall)
        self.static = self._build_static_source(settings)

    def _build_tools(self, reporter: NodeReporter) -> LaneTools:
        foundation, environment = self.foundation, _build_environment(self.foundation.settings)
        tokens, work = ServiceAccountTokens(foundation.cluster.tokens, time.time), BlockingWork()
        volumes = PodVolumes(
            foundation.settings.root_dir,
            self.config,
            tokens,
            work,
            reporter.allocatable,
            claims=foundation.cluster.claims,
            read_node=self._read_node,
            images=ImageVolumes(self.images, foundation.runtime.read_version),
        )
        cgroups = self.cgroups
        services = foundation.cluster.services
        executor = Executor(
            runtime=foundation.runtime,
            images=self.images,
            volumes=volumes,
            config=self.config,
            files=LocalPodFiles(environment, cgroups, work),
            hooks=HookRunner(foundation.runtime, cgroups),
            api=foundation.cluster.pod_api,
            status_writer=self.status_writer,
            environment=environment,
            read_node=lambda: NodeView(
                foundation.node_ips, tuple(services.objects().values()), reporter.allocatable()
            ),
            now=time.time,
            handlers=foundation.cluster.runtime_handlers,
            users=self.users,
            started_at=time.time(),
        )
        return LaneTools(
            executor=executor,
            probes=self.probes,
            checkpoint=self.checkpoint,
            journal=self.journal,
            status_writer=self.status_writer,
            launches=LaunchQueue(max(2, _STARTS_PER_CORE * (os.cpu_count() or 1))),
            events=foundation.cluster.pod_events,
            drain=NoDrain() if foundation.settings.proxy_mode is ProxyMode.NONE else self.drain,
            node_facts=lambda: NodeFacts(foundation.node_ips, foundation.version.name),
            read_message=read_termination_message,
            now=time.time,
            random=random.random,
        )

    def _read_node(self) -> Node | None:
        """Our own Node as the cluster shows it."""
        return self.foundation.cluster.nodes.get(ObjectKey("", self.foundation.settings.node_name))

    def _build_static_source(self, settings: AgentSettings) -> StaticSource | None:
        if settings.static_pod_path is None:
            return None
        cluster = self.foundation.cluster
        return StaticSource(
            settings.static_pod_path,
            settings.node_name,
            cluster.manifest_rules,
            self.lanes,
            cluster.note_manifests,
        )

    def start(self) -> None:
        """Remembered pods first: they go on whether or not anybody else answers."""
        self.users.read_all()
        self.probes.subscribe(self.lanes.note_verdict)
        self.status_writer.subscribe_trouble(self.lanes.note_verdict)
        self.drain.subscribe(self.lanes.note_released)
        self.probes.subscribe_failures(self.lanes.note_probe_failure)
        self.images.subscribe_pulls(self.lanes.note_pull)
        self.config.subscribe(self.lanes.note_config)
        self.config.subscribe_unnamed(self.foundation.cluster.forget_config)
        self.foundation.cluster.subscribe_objects(self.status_writer.note_object)
        boot_id = read_machine_facts(self.foundation.settings.root_dir).boot_id
        rebooted = note_boot(self.foundation.settings.root_dir, boot_id)
        self.foundation.cluster.go_on_with([record.pod for record in self.records], rebooted=rebooted)
        self.lanes.restore(self.records)

    async def feed(self) -> None:
        """Opens the source of assigned pods; the static pods' runs by itself."""
        if self.static is None:
            self.lanes.keep_only((), static=True)
        await self.foundation.cluster.feed_pods(self.lanes)

    async def resync(self) -> None:
        """Contents of volumes are looked at again from time to time, tokens among them."""
        while True:
            await asyncio.sleep(_RESYNC_SECONDS * (0.9 + 0.2 * random.random()))
            self.lanes.refresh_volumes()

    def list_loops(self) -> Mapping[str, Loop]:
        runtime = self.foundation.runtime
        loops: dict[str, Loop] = {
            "checkpoint": self.checkpoint.run,
            "journal": self.journal.run,
            "pods": self.lanes.run,
            "relist": self.relist.run,
            "QoS tiers": QosTiers(self.cgroups, self.lanes.pods).run,
            "container events": lambda: watch_hints(runtime.watch_container_events, self.lanes.note_event),
            "pod sources": self.feed,
            "volume refresh": self.resync,
            "orphan directories": self.directories.run,
        }
        return loops if self.static is None else {**loops, "static pods": self.static.run}

    async def aclose(self) -> None:
        await self.probes.aclose()
        await self.images.aclose()
        await self.config.aclose()
        await self.status_writer.aclose()


def _find_features(pod: Pod, handlers: RuntimeHandlers, reporter: NodeReporter) -> HandlerFeatures | None:
    """Of the pod's handler, as far as known now."""
    handler, features = handlers.peek_handler(pod), reporter.features
    return None if handler is None or features is None else features.of(handler)


def _read_user_pool(settings: AgentSettings) -> IDPool:
    return choose_pool(_read_if_there(_SUBUID), _read_if_there(_SUBGID), settings.max_pods)


def _read_if_there(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


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
