"""The lab's network: a bridge in a namespace of its own, and namespaces on cables from it.

A shell that runs what `lab.wiring` plans. Called by `lab.runtime_node` and `lab.cluster`; removal is
`lab.teardown`'s.
"""

from __future__ import annotations

from lab.addresses import AddressPlan
from lab.names import BRIDGE, LabNames
from lab.namespaces import create_netns, run_ip_batch, write_sysctl
from lab.wiring import plan_bridge, plan_cable, plan_cut, plan_heal, plan_node, plan_uncable


def create_bridge(names: LabNames, addresses: AddressPlan) -> None:
    """The bridge answers for every address outside the lab: unreachable."""
    netns = names.netns(BRIDGE)
    create_netns(netns)
    write_sysctl(netns, "net/ipv4/ip_forward", "1")  # without it, packets to elsewhere vanish silently
    run_ip_batch(netns, plan_bridge(addresses.gateway, addresses.nodes))


def connect_server(names: LabNames, addresses: AddressPlan, role: str) -> None:
    _connect(names, addresses, role, str(addresses.server))


def connect_node(names: LabNames, addresses: AddressPlan, node: str, index: int) -> None:
    """A namespace for the node, with its address, joined to the bridge; it forwards, as a node must."""
    _connect(names, addresses, node, str(addresses.node(index)))
    write_sysctl(names.netns(node), "net/ipv4/ip_forward", "1")


def disconnect(names: LabNames, role: str) -> None:
    """Unplugs a node for good."""
    run_ip_batch(names.netns(BRIDGE), plan_uncable(role))


def cut_link(names: LabNames, role: str) -> None:
    """The node (or the server) hears and reaches nobody until healed; its addresses and routes stay."""
    run_ip_batch(names.netns(BRIDGE), plan_cut(role))


def heal_link(names: LabNames, role: str) -> None:
    run_ip_batch(names.netns(BRIDGE), plan_heal(role))


def _connect(names: LabNames, addresses: AddressPlan, role: str, address: str) -> None:
    netns = names.netns(role)
    create_netns(netns)
    run_ip_batch(names.netns(BRIDGE), plan_cable(role, netns))
    run_ip_batch(netns, plan_node(address, addresses.nodes, addresses.gateway))
