"""`berth lab …`: real nodes on this machine, brought up, disturbed and removed by command.

Only parses and prints; the work is `lab.cluster`'s, imported by the command that needs it. Names and meanings
are promises to scripts, as is the shape of `status -o json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from lab.cluster import Cluster, ClusterStatus


_SERVER = "server"
_PARTS = ("agent", "containerd", "node")

_name_option = click.option(
    "--name", default="default", show_default=True, help="Which lab; several can run side by side."
)
_part_option = click.option(
    "--part",
    type=click.Choice(_PARTS),
    default="agent",
    show_default=True,
    help="What of the node; `node` is agent, containerd and every container, like a power cut.",
)


@click.group(epilog="Example: sudo berth lab up --nodes 3 && sudo berth lab status")
def lab() -> None:
    """Many real nodes on this one machine, to try things out.

    Nodes are network namespaces on a bridge of their own, each with its own containerd, agent and pod CIDR.
    The machine's own network, rules and runtime aren't touched, and `down` leaves nothing.
    """


@lab.command(epilog="Example: sudo berth lab up --nodes 3 --proxy-mode nftables")
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--proxy-mode",
    type=click.Choice(("auto", "nftables", "iptables", "none")),
    default="auto",
    show_default=True,
    help="How the agents program Services.",
)
@click.option(
    "--runtime",
    metavar="NAME|DIRECTORY",
    envvar="BERTH_LAB_RUNTIME",
    default="",
    help="A containerd other than this machine's: the directory of its programs, or the name of one that "
    "`./dev runtimes` unpacked (containerd-1.7, containerd-2). Also BERTH_LAB_RUNTIME.",
)
@_name_option
def up(nodes: int, proxy_mode: str, runtime: str, name: str) -> None:
    """Bring up a server and nodes, and wait until every node is Ready.

    What is left of a dead lab of this name is removed first; a running one is an error.
    """
    from lab.cluster import ClusterSettings, bring_up

    started = time.monotonic()
    cluster = bring_up(ClusterSettings(name=name, nodes=nodes, proxy_mode=proxy_mode, runtime=runtime))
    took = time.monotonic() - started
    click.echo(f"{nodes} node{'s' if nodes > 1 else ''} Ready in {took:.1f} s.")
    click.echo(f"kubectl --kubeconfig {cluster.kubeconfig} get nodes")
    click.echo(f"Take it down: berth lab down{_format_name(name)}")


@lab.command(epilog="Example: sudo berth lab status -o json")
@click.option("-o", "output", type=click.Choice(("wide", "json", "yaml")), help="Another form than a table.")
@_name_option
def status(output: str | None, name: str) -> None:
    """Show the nodes, whether they are Ready, and how to reach the server."""
    found = _open(name).status()
    match output:
        case "json":
            click.echo(json.dumps(build_status_document(found), indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(build_status_document(found), sort_keys=False), nl=False)
        case _:
            click.echo(render_status_table(found, wide=output == "wide"))


@lab.command(epilog='Example: export KUBECONFIG="$(sudo berth lab kubeconfig)"')
@_name_option
def kubeconfig(name: str) -> None:
    """Print the path of the admin kubeconfig, usable from this machine's own network."""
    click.echo(_open(name).kubeconfig)


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: sudo berth lab exec n1 -- ctr containers ls",
)
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_name_option
def exec_command(node: str, command: tuple[str, ...], name: str) -> None:
    """Run a command on a node: in its network, with its containerd as the default for ctr and crictl.

    Its exit code is this command's own.
    """
    found = _open(name).node(node)
    sys.stdout.flush()
    argv = ["nsenter", f"--net={found.netns}", "--", *command]
    try:
        os.execvpe(argv[0], argv, dict(found.environment))
    except OSError as error:
        from lab.errors import LabError

        raise LabError(
            f"`nsenter` can't be run ({error.strerror}); install the package util-linux"
        ) from error


@lab.command(epilog="Example: sudo berth lab kill n2 --part node")
@click.argument("target", metavar="NODE|server")
@_part_option
@_name_option
def kill(target: str, part: str, name: str) -> None:
    """Kill a node's agent, its runtime or all of it, or the server, with SIGKILL."""
    from lab.cluster import NodePart

    cluster = _open(name)
    if target == _SERVER:
        cluster.kill_server()
    else:
        cluster.kill_node(target, NodePart(part))
    click.echo(f"{_describe(target, part)} killed")


@lab.command(epilog="Example: sudo berth lab restart server")
@click.argument("target", metavar="NODE|server")
@_part_option
@_name_option
def restart(target: str, part: str, name: str) -> None:
    """Kill a node's agent (or --part), or the server, and start it again; starts what is dead, too."""
    from lab.cluster import NodePart

    cluster = _open(name)
    if target == _SERVER:
        cluster.restart_server()
    else:
        cluster.restart_node(target, NodePart(part))
    click.echo(f"{_describe(target, part)} restarted")


@lab.command(epilog="Example: sudo berth lab cut n2")
@click.argument("target", metavar="NODE|server")
@_name_option
def cut(target: str, name: str) -> None:
    """Take a node, or the server, off the network; everything on it goes on running."""
    _open(name).cut(target)
    click.echo(f"{target} is cut off")


@lab.command(epilog="Example: sudo berth lab heal n2")
@click.argument("target", metavar="NODE|server")
@_name_option
def heal(target: str, name: str) -> None:
    """Put a node, or the server, back on the network."""
    _open(name).heal(target)
    click.echo(f"{target} is back on the network")


@lab.command(epilog="Example: sudo berth lab down")
@_name_option
def down(name: str) -> None:
    """Remove the lab and everything it made, whatever state it is in; removing nothing is fine."""
    from lab.cluster import remove_cluster

    removed = remove_cluster(name)
    click.echo(f"The lab {name!r} is gone." if removed else f"There is no lab {name!r}; nothing to remove.")


def _open(name: str) -> Cluster:
    from lab.cluster import open_cluster

    return open_cluster(name)


def _format_name(name: str) -> str:
    return "" if name == "default" else f" --name {name}"


def _describe(target: str, part: str) -> str:
    if target == _SERVER:
        return "the server is"
    return {
        "agent": f"the agent of {target} is",
        "containerd": f"containerd of {target} is",
        "node": f"{target} is",
    }[part]


def build_status_document(found: ClusterStatus) -> dict[str, Any]:
    return {
        "nodes": [
            {
                "name": node.name,
                "ip": node.ip,
                "ready": node.ready,
                "runtime_endpoint": node.runtime_endpoint,
                "root_dir": node.root_dir,
            }
            for node in found.nodes
        ],
        "server": {"url": found.server_url},
        "kubeconfig": found.kubeconfig,
    }


def render_status_table(found: ClusterStatus, *, wide: bool) -> str:
    rows = [("NAME", "IP", "READY", "RUNTIME-ENDPOINT", "ROOT-DIR")]
    rows += [
        (node.name, node.ip, "True" if node.ready else "False", node.runtime_endpoint, node.root_dir)
        for node in found.nodes
    ]
    shown = [row if wide else row[:3] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown]
    return "\n".join(
        [*(line.rstrip() for line in lines), f"server: {found.server_url}", f"kubeconfig: {found.kubeconfig}"]
    )
