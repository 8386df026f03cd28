"""`berth agent`: builds AgentSettings from flags and `--config`, then runs the agent until told to stop."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Final

import click

from agent.settings import AgentSettings, PodNetworkMode, ProxyMode
from cli.configuration import configuration_option
from cli.logs import LOG_LEVEL, start_logging
from cli.parameters import (
    DIRECTORY,
    FILE,
    PORT,
    AddressPairType,
    AddressType,
    LabelType,
    NetworkType,
    NodeNameType,
)

_ONLY_STANDALONE: Final = ("pod_cidr", "service_cidr")


@click.command(
    epilog="Example: berth agent --kubeconfig /etc/berth/agent.kubeconfig --node-name n1, "
    "or without a cluster: berth agent --standalone --static-pod-path /etc/berth/manifests",
    context_settings={"show_default": True},
)
@configuration_option
@click.option(
    "--node-name",
    type=NodeNameType(),
    help="This node's name in the cluster; only with --standalone it is the machine's name by default.",
)
@click.option(
    "--kubeconfig",
    type=FILE,
    default=Path("/etc/berth/agent.kubeconfig"),
    help="How to reach the API server, and as whom.",
)
@click.option(
    "--standalone",
    is_flag=True,
    help="Work without any API server: --static-pod-path holds all there is, Pods and, for them, ConfigMaps, "
    "Secrets and Services.",
)
@click.option(
    "--node-ip",
    type=AddressPairType(),
    default="",
    help="This node's address, or one of each family; by default the one that reaches the server.",
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
@click.option(
    "--pod-cidr",
    type=NetworkType(),
    default="",
    help="With --standalone: where this node's pod addresses come from; by default the first /24 (IPv6: /64) "
    "of --cluster-cidr.",
)
@click.option(
    "--service-cidr",
    type=NetworkType(),
    default="10.96.0.0/16",
    help="With --standalone: where Services without a clusterIP get theirs from.",
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
def agent(log_level: str, **_: object) -> None:
    """Run the node agent: the pods, Services and DNS of this machine.

    Works against Berth's own API server and against any other conformant one; with --standalone against
    none.
    """
    settings = build_settings(click.get_current_context())
    from agent.app import run_agent

    start_logging(log_level)
    asyncio.run(run_agent(settings))


def build_settings(ctx: click.Context) -> AgentSettings:
    """The settings of a parsed command line; click.UsageError for what doesn't go together."""
    _check_source(ctx)
    given = {name: value for name, value in ctx.params.items() if name != "log_level"}
    given |= {
        "node_name": ctx.params["node_name"] or _choose_node_name(ctx),
        "proxy_mode": ProxyMode(ctx.params["proxy_mode"]),
        "pod_network": PodNetworkMode(ctx.params["pod_network"]),
    }
    return AgentSettings(**given)


def _check_source(ctx: click.Context) -> None:
    """That the pods come from one place, and nothing is said that only concerns the other."""
    if not ctx.params["standalone"]:
        if strays := [name for name in _ONLY_STANDALONE if _is_given(ctx, name)]:
            flag = strays[0].replace("_", "-")
            raise click.UsageError(
                f"--{flag} is for --standalone: in a cluster the control plane decides it; leave it out", ctx
            )
        return
    if _is_given(ctx, "kubeconfig"):
        raise click.UsageError(
            "--standalone means that there is no API server; leave out --kubeconfig, or --standalone", ctx
        )
    if ctx.params["static_pod_path"] is None:
        raise click.UsageError(
            "--standalone runs what is in a directory; name it with --static-pod-path", ctx
        )


def _choose_node_name(ctx: click.Context) -> str:
    """Alone, any name will do; in a cluster somebody has to know it."""
    if not ctx.params["standalone"]:
        parameter = next(each for each in ctx.command.params if each.name == "node_name")
        raise click.MissingParameter(ctx=ctx, param=parameter)
    return NodeNameType().convert(socket.gethostname().lower(), None, ctx)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
