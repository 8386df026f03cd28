"""The links and addresses of a lab, as lines for `ip -batch`.

Pure. `lab.namespaces` runs the lines inside the namespace each function names. A node's end of its cable is
`eth0`, the other end is a port of the bridge with the node's name.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

BRIDGE_LINK = "br0"
NODE_LINK = "eth0"


def plan_bridge(gateway: IPv4Address, network: IPv4Network) -> tuple[str, ...]:
    """In the bridge's namespace."""
    return (
        "link set lo up",
        f"link add {BRIDGE_LINK} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
        f"address add {gateway}/{network.prefixlen} dev {BRIDGE_LINK}",
        f"link set {BRIDGE_LINK} up",
    )


def plan_cable(port: str, netns: Path) -> tuple[str, ...]:
    """In the bridge's namespace: joins the namespace at `netns` to the bridge."""
    return (
        f"link add {port} type veth peer name {NODE_LINK} netns {netns}",
        f"link set {port} master {BRIDGE_LINK}",
        f"link set {port} up",
    )


def plan_uncable(port: str) -> tuple[str, ...]:
    return (f"link delete {port}",)


def plan_cut(port: str) -> tuple[str, ...]:
    """In the bridge's namespace: the cable of `port` carries nothing any more, in either direction."""
    return (f"link set {port} down",)


def plan_heal(port: str) -> tuple[str, ...]:
    return (f"link set {port} up",)


def plan_node(address: str, network: IPv4Network, gateway: IPv4Address) -> tuple[str, ...]:
    """In the node's namespace, once it has its cable."""
    return (
        "link set lo up",
        f"address add {address}/{network.prefixlen} dev {NODE_LINK}",
        f"link set {NODE_LINK} up",
        # Locally made packets to a cluster IP need a route before the proxy's rules see them.
        f"route add default via {gateway}",
    )
