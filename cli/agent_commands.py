"""`berth agent`: builds AgentSettings from flags and `--config`, then runs the agent until told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agent.settings import AgentSettings, PodNetworkMode, ProxyMode
from cli.configuration import configuration_option
from cli.logs import LOG_LEVEL, start_logging
from cli.parameters import DIRECTORY, FILE, PORT, AddressType, LabelType, NetworkType, NodeNameType


@click.command(
    epilog="Example: berth agent --kubeconfig /etc/berth/agent.kubeconfig --node-name n1",
    context_settings={"show_default": True},
)
@configuration_option
@click.option("--node-name", type=NodeNameType(), required=True, help="This node's name in the cluster.")
@click.option(
    "--kubeconfig",
    type=FILE,
    default=Path("/etc/berth/agent.kubeconfig"),
    help="How to reach the API server, and as whom.",
)
@click.option(
    "--node-ip",
    type=AddressType(),
    default="",
    help="This node's address; by default the one that reaches the server.",
)
@click.option(
    "--root-dir", type=DIRECTORY, default=Path("/var/lib/berth"), help="Where the agent keeps its state."
)
@click.option(
    "--container-runtime-endpoint",
    default="unix:///run/containerd/containerd.sock",
    help="The CRI socket of containerd or CRI-O.",
)
@click.option(
    "--proxy-mode",
    type=click.Choice([mode.value for mode in ProxyMode]),
    default="auto",
    help="How Services are programmed; none leaves them to somebody else.",
)
@click.option(
    "--pod-network",
    type=click.Choice([mode.value for mode in PodNetworkMode]),
    default="auto",
    help="none leaves CNI configuration and routes to somebody else.",
)
@click.option("--cluster-dns", type=AddressType(), default="10.96.0.10", help="The cluster DNS address.")
@click.option("--cluster-domain", default="cluster.local", help="The cluster's DNS domain.")
@click.option(
    "--cluster-cidr",
    type=NetworkType(),
    default="10.244.0.0/16",
    help="Where pod addresses come from, cluster-wide.",
)
@click.option("--static-pod-path", type=DIRECTORY, help="Directory with manifests of static pods.")
@click.option("--port", type=PORT, default=10250, help="Port of the agent's HTTPS server.")
@click.option("--healthz-port", type=PORT, default=10248, help="Port of /healthz on 127.0.0.1.")
@click.option(
    "--pod-logs-dir", type=DIRECTORY, default=Path("/var/log/pods"), help="Where container logs go."
)
@click.option(
    "--cni-conf-dir", type=DIRECTORY, default=Path("/etc/cni/net.d"), help="The runtime's CNI configuration."
)
@click.option(
    "--cni-state-dir", type=DIRECTORY, default=Path("/var/lib/cni"), help="Where host-local keeps leases."
)
@click.option("--cgroup-root", default="/", help="The cgroup below which pods live.")
@click.option("--max-pods", type=click.IntRange(1), default=110, help="How many pods this node takes.")
@click.option("--resolv-conf", type=FILE, default=Path("/etc/resolv.conf"), help="The node's resolvers.")
@click.option(
    "--node-label", "node_labels", type=LabelType(), multiple=True, help="A label for the Node object."
)
@click.option(
    "--log-level",
    type=LOG_LEVEL,
    default="info",
    help="What to log.",
)
def agent(log_level: str, proxy_mode: str, pod_network: str, **settings: object) -> None:
    """Run the node agent: the pods, Services and DNS of this machine.

    Works against Berth's own API server and against any other conformant one.
    """
    from agent.app import run_agent

    start_logging(log_level)
    asyncio.run(
        run_agent(
            AgentSettings(
                proxy_mode=ProxyMode(proxy_mode),
                pod_network=PodNetworkMode(pod_network),
                **settings,  # type: ignore[arg-type]  # click has converted each by its option's type
            )
        )
    )
