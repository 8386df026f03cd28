"""The agent's composition root: makes every part, joins them, and runs them until the process is told to
stop.

Does IO by what it starts. Called by the command line. Order: what can refuse to start comes first (lock,
kubeconfig, runtime, addresses, ports), each with a sentence; then the loops, each supervised. Stopping never
touches a pod.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import ssl
import time
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.checkpoint.store import FileCheckpoint
from agent.dns.server import DnsServer
from agent.errors import AgentError
from agent.images.source import CRIImages
from agent.node.address import NoNodeAddress, choose_node_ip
from agent.node.api import KubeNodeApi
from agent.node.facts import read_machine_facts
from agent.node.lease import LeaseKeeper
from agent.node.reporter import NodeReporter
from agent.node.status import NodeIdentity
from agent.podnetwork.network import PodNetwork
from agent.pods.dns_config import Resolver, parse_resolv_conf
from agent.pods.execute import Executor, NodeView
from agent.pods.goal import is_static
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
from agent.proxy.proxy import Proxy
from agent.ready_notice import send_notice
from agent.resources.pod_cgroups import PodCgroups, read_cgroup_facts
from agent.root_lock import hold_root
from agent.runtime.client import RuntimeClient
from agent.runtime.relist import Relist, watch_hints
from agent.runtime.values import RuntimeVersion
from agent.server.application import build_application, build_healthz_application
from agent.server.authentication import AdminsOnly, build_server_tls
from agent.server.listeners import PortTaken, listen
from agent.server.logs import ContainerLogs
from agent.server.serving_certificate import NoServingCertificate, ensure_serving_pair
from agent.server.streaming import Streaming
from agent.settings import AgentSettings, PodNetworkMode, ProxyMode
from agent.supervise import supervise
from agent.volumes.blocking import BlockingWork
from agent.volumes.config_api import KubeConfigApi, KubeTokens
from agent.volumes.config_objects import WatchedConfig
from agent.volumes.source import PodVolumes
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.client import Client
from kubeapi.core import Node, Service
from kubeapi.discovery import EndpointSlice
from kubeapi.events import EventRecorder
from kubeapi.informer import Informer
from kubeapi.kubeconfig import ClientConfig, KubeconfigError, read_kubeconfig
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

_logger = logging.getLogger(__name__)

_TLS_BUFFER_BYTES: Final = 16 * 1024  # CPython's 256 KiB for each connection would be most of our memory
_SERVICES_WAIT_SECONDS: Final = 10.0
_RESYNC_SECONDS: Final = 60.0

Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Informers:
    pods: Informer[Pod]
    nodes: Informer[Node]
    services: Informer[Service]
    slices: Informer[EndpointSlice]


@dataclass(frozen=True, slots=True)
class Outside:
    """What the agent stands on: the runtime, the API server, and what was found out about them at start."""

    settings: AgentSettings
    runtime: RuntimeClient
    version: RuntimeVersion
    config: ClientConfig
    client: Client
    informers: Informers
    node_ip: str


async def run_agent(settings: AgentSettings) -> None:
    """Runs until SIGTERM or cancellation; pods go on when it ends. Raises AgentError when it can't start."""
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    config = _read_config(settings)
    with hold_root(settings.root_dir):
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(
                RuntimeClient(settings.container_runtime_endpoint, node_name=settings.node_name)
            )
            version = await runtime.check_answers()
            client = await stack.enter_async_context(_open_client(config))
            node_ip = await _choose_node_ip(config, settings)
            outside = Outside(
                settings, runtime, version, config, client, _make_informers(client, settings), node_ip
            )
            await _run(outside, stack)


def _read_config(settings: AgentSettings) -> ClientConfig:
    if settings.kubeconfig is None:
        raise AgentError("the agent needs an API server; name its kubeconfig with --kubeconfig")
    try:
        return read_kubeconfig(settings.kubeconfig)
    except KubeconfigError as error:
        raise AgentError(str(error)) from error


def _open_client(config: ClientConfig) -> Client:
    return Client(config, user_agent="berth-agent")


async def _choose_node_ip(config: ClientConfig, settings: AgentSettings) -> str:
    try:
        return await choose_node_ip(config.server, settings.node_ip)
    except NoNodeAddress as error:
        raise AgentError(str(error)) from error


def _make_informers(client: Client, settings: AgentSettings) -> Informers:
    return Informers(
        pods=Informer(client, PODS, field_selector=f"spec.nodeName={settings.node_name}"),
        nodes=Informer(client, NODES),
        services=Informer(client, SERVICES),
        slices=Informer(client, ENDPOINT_SLICES),
    )


# --- the parts ----------------------------------------------------------------------------------------------


class Pods:
    """The pod half of the agent, joined."""

    def __init__(self, outside: Outside, reporter: NodeReporter, recorder: EventRecorder) -> None:
        settings, runtime = outside.settings, outside.runtime
        self.outside = outside
        self.checkpoint = FileCheckpoint(settings.root_dir)
        self.records = self.checkpoint.read_all()
        self.config = WatchedConfig(KubeConfigApi(outside.client))
        self.images = CRIImages(runtime, time.monotonic)
        self.probes = TaskProbeRunner(
            ProbeCheck(runtime, LoopLag()),
            time.time,
            compute_stored_results(record.pod for record in self.records),
        )
        self.api = KubePodApi(outside.client)
        self.status_writer = StatusWriter(self.api, self._find_object, random.random)
        self.mirrors = MirrorKeeper(self.api, lambda: reporter.node_uid, self._note_mirror)
        self.lanes = PodLanes(
            self._build_tools(reporter, RecordedPodEvents(recorder)),
            self.config,
            read_node=lambda: outside.informers.nodes.get(ObjectKey("", settings.node_name)),
            max_pods=settings.max_pods,
        )
        self.relist = Relist(runtime, self.lanes.note_relist)
        self.static = self._build_static_source(settings)

    def _build_tools(self, reporter: NodeReporter, events: RecordedPodEvents) -> LaneTools:
        outside, environment = self.outside, _build_environment(self.outside.settings)
        tokens = ServiceAccountTokens(KubeTokens(outside.client), time.time)
        volumes = PodVolumes(
            outside.settings.root_dir, self.config, tokens, BlockingWork(), reporter.allocatable
        )
        cgroups = PodCgroups(read_cgroup_facts(), outside.settings.cgroup_root)
        services = outside.informers.services
        executor = Executor(
            runtime=outside.runtime,
            images=self.images,
            volumes=volumes,
            config=self.config,
            files=LocalPodFiles(environment, cgroups),
            hooks=HookRunner(outside.runtime),
            api=self.api,
            status_writer=self.status_writer,
            environment=environment,
            read_node=lambda: NodeView(
                (outside.node_ip,), tuple(services.objects().values()), reporter.allocatable()
            ),
            now=time.time,
        )
        return LaneTools(
            executor=executor,
            probes=self.probes,
            checkpoint=self.checkpoint,
            status_writer=self.status_writer,
            events=events,
            node_facts=lambda: NodeFacts((outside.node_ip,), outside.version.name),
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
        found = self.outside.informers.pods.get(pod.key)
        return found if found is not None and found.uid == pod.uid else None

    def _note_mirror(self, pod: Pod, mirror: Pod) -> None:
        self.status_writer.note_target(pod, mirror.uid)

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
        informers = self.outside.informers
        await _wait_a_while(informers.services.wait_until_synced())
        informers.pods.subscribe(ApiSource(self.lanes, self.mirrors.note_mirror).note_change)
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
        runtime = self.outside.runtime
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


# --- running them -------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


async def _run(outside: Outside, stack: AsyncExitStack) -> None:
    settings, informers = outside.settings, outside.informers
    node_api = KubeNodeApi(outside.client)
    identity = NodeIdentity(
        settings.node_name, outside.node_ip, settings.port, settings.max_pods, dict(settings.node_labels)
    )
    reporter = NodeReporter(
        node_api, outside.runtime, identity, lambda: read_machine_facts(settings.root_dir), _now
    )
    lease = LeaseKeeper(node_api, settings.node_name, _now, lambda: reporter.node_uid)
    recorder = EventRecorder(outside.client, component="kubelet", host=settings.node_name)
    pods = Pods(outside, reporter, recorder)
    stack.push_async_callback(pods.aclose)
    await _open_listeners(outside, pods, stack)
    pods.start()
    loops: dict[str, Loop] = {
        "node status": reporter.run,
        "node lease": lease.run,
        "events": recorder.run,
        "pod informer": informers.pods.run,
        "node informer": informers.nodes.run,
        "service informer": informers.services.run,
        "endpoint slice informer": informers.slices.run,
        **pods.list_loops(),
        **_list_network_loops(outside, pods),
    }
    await _run_until_told(loops)


def _list_network_loops(outside: Outside, pods: Pods) -> Mapping[str, Loop]:
    settings, informers = outside.settings, outside.informers
    loops: dict[str, Loop] = {}
    if settings.pod_network is PodNetworkMode.AUTO:
        loops["pod network"] = PodNetwork(informers.nodes, settings).run
    if settings.proxy_mode is not ProxyMode.NONE:
        loops["service proxy"] = Proxy(informers.services, informers.slices, pods.lanes, settings).run
    if settings.cluster_dns:
        loops["cluster DNS"] = DnsServer(informers.services, informers.slices, settings).run
    return loops


async def _open_listeners(outside: Outside, pods: Pods, stack: AsyncExitStack) -> None:
    settings = outside.settings

    def find_trouble() -> str:
        return pods.relist.trouble

    application = build_application(
        pods.lanes,
        ContainerLogs(pods.lanes, time.time),
        Streaming(pods.lanes, outside.runtime),
        AdminsOnly(),
        find_trouble,
    )
    try:
        healthz = build_healthz_application(find_trouble)
        await stack.enter_async_context(listen(healthz, "127.0.0.1", settings.healthz_port, None))
        tls = await _build_tls(outside)
        await stack.enter_async_context(listen(application, None, settings.port, tls))
    except PortTaken as error:
        raise AgentError(str(error)) from error


async def _build_tls(outside: Outside) -> ssl.SSLContext:
    settings = outside.settings
    try:
        pair = await ensure_serving_pair(settings.root_dir, settings.node_name, outside.node_ip)
    except NoServingCertificate as error:
        raise AgentError(f"the serving certificate can't be made: {error}") from error
    return build_server_tls(pair.certificate, pair.key, outside.config.ca_data)


async def _run_until_told(loops: Mapping[str, Loop]) -> None:
    told = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, told.set)
    notify = os.environ.get("NOTIFY_SOCKET", "")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(supervise(name, run), name=name) for name, run in loops.items()]
        send_notice(notify, "READY=1")
        _logger.info("the agent runs")
        await told.wait()
        send_notice(notify, "STOPPING=1")
        for task in tasks:
            task.cancel()
    _logger.info("the agent ends; its pods go on")
