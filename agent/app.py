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
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

from agent.dns.server import DnsServer
from agent.errors import AgentError
from agent.foundation import Cluster, Foundation, Loop
from agent.joined_pods import JoinedPods
from agent.kube_cluster import KubeCluster
from agent.node.address import NoNodeAddress, choose_lone_ip
from agent.node.address_memory import NodeAddressMemory
from agent.node.facts import read_machine_facts
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
from agent.standalone.cluster import StandaloneCluster
from agent.supervise import supervise
from kubeapi.client import Client
from kubeapi.kubeconfig import ClientConfig, KubeconfigError, read_kubeconfig

_logger = logging.getLogger(__name__)

_TLS_BUFFER_BYTES: Final = 16 * 1024  # CPython's 256 KiB for each connection would be most of our memory


async def run_agent(settings: AgentSettings) -> None:
    """Runs until SIGTERM or cancellation; pods go on when it ends. Raises AgentError when it can't start."""
    _require_root()
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    config = None if settings.standalone else _read_config(settings)
    with hold_root(settings.root_dir):
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(
                RuntimeClient(settings.container_runtime_endpoint, node_name=settings.node_name)
            )
            version = await runtime.check_answers()
            node_ip = await _choose_node_ip(config, settings)
            cluster = await _open_cluster(config, settings, stack)
            await _run(Foundation(settings, runtime, version, cluster, node_ip), stack)


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


async def _open_cluster(
    config: ClientConfig | None, settings: AgentSettings, stack: AsyncExitStack
) -> Cluster:
    if config is None:
        return StandaloneCluster(settings)
    client = await stack.enter_async_context(Client(config, user_agent="berth-agent"))
    return KubeCluster(client, settings, config.ca_data)


async def _choose_node_ip(config: ClientConfig | None, settings: AgentSettings) -> str:
    try:
        if config is None:
            return choose_lone_ip(settings.node_ip)
        memory = NodeAddressMemory(settings.root_dir)
        return await memory.choose(config.server, settings.node_ip)
    except NoNodeAddress as error:
        raise AgentError(str(error)) from error


# --- running them -------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


async def _run(foundation: Foundation, stack: AsyncExitStack) -> None:
    settings, cluster = foundation.settings, foundation.cluster
    identity = NodeIdentity(
        settings.node_name,
        foundation.node_ip,
        settings.port,
        settings.max_pods,
        dict(settings.node_labels),
        foundation.node_ips[1:],
    )
    reporter = NodeReporter(
        cluster.node_api, foundation.runtime, identity, lambda: read_machine_facts(settings.root_dir), _now
    )
    pods = JoinedPods(foundation, reporter)
    stack.push_async_callback(pods.aclose)
    await _open_listeners(foundation, pods, stack)
    await reporter.read_features()
    pods.start()
    loops: dict[str, Loop] = {
        "node status": reporter.run,
        **cluster.list_loops(pods.lanes, reporter),
        **pods.list_loops(),
        **_list_network_loops(foundation, pods, reporter),
    }
    await _run_until_told(loops)


def _list_network_loops(
    foundation: Foundation, pods: JoinedPods, reporter: NodeReporter
) -> Mapping[str, Loop]:
    settings, cluster = foundation.settings, foundation.cluster
    loops: dict[str, Loop] = {}
    if settings.pod_network is PodNetworkMode.AUTO:
        network = PodNetwork(cluster.nodes, settings)

        async def tell_node_status() -> None:
            await network.wait_until_configured()
            reporter.look_again()

        loops["pod network"] = network.run
        loops["pod network notice"] = tell_node_status
    if settings.proxy_mode is not ProxyMode.NONE:
        loops["service proxy"] = Proxy(cluster.services, cluster.slices, pods.lanes, settings, pods.drain).run
    if settings.cluster_dns:
        loops["cluster DNS"] = DnsServer(cluster.services, cluster.slices, settings).run
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
        if foundation.cluster.client_authority is not None:
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
    return build_server_tls(pair.certificate, pair.key, foundation.cluster.client_authority)


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
