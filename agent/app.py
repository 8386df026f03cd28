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
import signal
import ssl
import time
from asyncio import sslproto
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

from agent.dns.server import DnsServer
from agent.errors import AgentError
from agent.foundation import Foundation, Loop, make_informers
from agent.joined_pods import JoinedPods
from agent.node.address import NoNodeAddress, choose_node_ip
from agent.node.api import KubeNodeApi
from agent.node.facts import read_machine_facts
from agent.node.lease import LeaseKeeper
from agent.node.reporter import NodeReporter
from agent.node.status import NodeIdentity
from agent.podnetwork.network import PodNetwork
from agent.proxy.proxy import Proxy
from agent.ready_notice import send_notice
from agent.root_lock import hold_root
from agent.runtime.client import RuntimeClient
from agent.server.application import build_application, build_healthz_application
from agent.server.authentication import AdminsOnly, build_server_tls
from agent.server.listeners import PortTaken, listen
from agent.server.logs import ContainerLogs
from agent.server.serving_certificate import NoServingCertificate, ensure_serving_pair
from agent.server.streaming import Streaming
from agent.settings import AgentSettings, PodNetworkMode, ProxyMode
from agent.supervise import supervise
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.events import EventRecorder
from kubeapi.kubeconfig import ClientConfig, KubeconfigError, read_kubeconfig
from kubeapi.object_store import Change

_logger = logging.getLogger(__name__)

_TLS_BUFFER_BYTES: Final = 16 * 1024  # CPython's 256 KiB for each connection would be most of our memory


async def run_agent(settings: AgentSettings) -> None:
    """Runs until SIGTERM or cancellation; pods go on when it ends. Raises AgentError when it can't start."""
    _require_root()
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
            foundation = Foundation(
                settings, runtime, version, config, client, make_informers(client, settings), node_ip
            )
            await _run(foundation, stack)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise AgentError(
            "the agent needs root, for mounts, network namespaces and packet rules; start it with sudo, or "
            "as a system service"
        )


def _read_config(settings: AgentSettings) -> ClientConfig:
    try:
        return read_kubeconfig(settings.kubeconfig)
    except KubeconfigError as error:
        raise AgentError(f"{error}; mend it, or name another with --kubeconfig") from error


def _open_client(config: ClientConfig) -> Client:
    return Client(config, user_agent="berth-agent")


async def _choose_node_ip(config: ClientConfig, settings: AgentSettings) -> str:
    try:
        return await choose_node_ip(config.server, settings.node_ip)
    except NoNodeAddress as error:
        raise AgentError(str(error)) from error


# --- running them -------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


async def _run(foundation: Foundation, stack: AsyncExitStack) -> None:
    settings, informers = foundation.settings, foundation.informers
    node_api = KubeNodeApi(foundation.client)
    identity = NodeIdentity(
        settings.node_name, foundation.node_ip, settings.port, settings.max_pods, dict(settings.node_labels)
    )
    reporter = NodeReporter(
        node_api, foundation.runtime, identity, lambda: read_machine_facts(settings.root_dir), _now
    )
    lease = LeaseKeeper(node_api, settings.node_name, _now, lambda: reporter.node_uid, reporter.note_recovery)
    informers.nodes.subscribe(_tell_of_node(reporter, settings.node_name))
    recorder = EventRecorder(foundation.client, component="kubelet", host=settings.node_name)
    pods = JoinedPods(foundation, reporter, recorder)
    stack.push_async_callback(pods.aclose)
    await _open_listeners(foundation, pods, stack)
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
        **_list_network_loops(foundation, pods, reporter),
    }
    await _run_until_told(loops)


def _tell_of_node(reporter: NodeReporter, name: str) -> Callable[[Change[Node]], None]:
    def tell(change: Change[Node]) -> None:
        if change.key.name == name and change.new is not None:
            reporter.note_node(change.new)

    return tell


def _list_network_loops(
    foundation: Foundation, pods: JoinedPods, reporter: NodeReporter
) -> Mapping[str, Loop]:
    settings, informers = foundation.settings, foundation.informers
    loops: dict[str, Loop] = {}
    if settings.pod_network is PodNetworkMode.AUTO:
        network = PodNetwork(informers.nodes, settings)

        async def tell_node_status() -> None:
            await network.wait_until_configured()
            reporter.look_again()

        loops["pod network"] = network.run
        loops["pod network notice"] = tell_node_status
    if settings.proxy_mode is not ProxyMode.NONE:
        loops["service proxy"] = Proxy(informers.services, informers.slices, pods.lanes, settings).run
    if settings.cluster_dns:
        loops["cluster DNS"] = DnsServer(informers.services, informers.slices, settings).run
    return loops


async def _open_listeners(foundation: Foundation, pods: JoinedPods, stack: AsyncExitStack) -> None:
    settings = foundation.settings

    def find_trouble() -> str:
        return pods.relist.trouble

    application = build_application(
        pods.lanes,
        ContainerLogs(pods.lanes, time.time),
        Streaming(pods.lanes, foundation.runtime),
        AdminsOnly(),
        find_trouble,
    )
    try:
        healthz = build_healthz_application(find_trouble)
        await stack.enter_async_context(listen(healthz, "127.0.0.1", settings.healthz_port, None))
        tls = await _build_tls(foundation)
        await stack.enter_async_context(listen(application, None, settings.port, tls))
    except PortTaken as error:
        raise AgentError(str(error)) from error


async def _build_tls(foundation: Foundation) -> ssl.SSLContext:
    settings = foundation.settings
    try:
        pair = await ensure_serving_pair(settings.root_dir, settings.node_name, foundation.node_ip)
    except NoServingCertificate as error:
        raise AgentError(f"the serving certificate can't be made: {error}") from error
    return build_server_tls(pair.certificate, pair.key, foundation.config.ca_data)


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
