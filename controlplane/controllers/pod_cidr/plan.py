"""Pod CIDRs: every node gets one subnet of the cluster's range, for as long as the node exists.

Pure. Called by `controlplane.controllers.pod_cidr.observe`, for one node at a time: two allocations at once
could choose the same subnet. What nodes have already is taken as it is, whoever gave it. Follows the
`podCIDR` field of the Node page of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from controlplane.controllers.actions import Announce, MergePatch, Plan
from controlplane.notes import Note
from kubeapi.core import Node
from kubeapi.event_records import EventType, build_reference
from kubeapi.resources import NODES

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ObservedCIDRs:
    """One node, and all nodes' CIDRs (`taken`), this one's included."""

    node: Node
    taken: tuple[str, ...]


def get_cidrs(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())


def plan_pod_cidr(observed: ObservedCIDRs, cluster_cidr: Network, mask_size: int) -> Plan:
    """The first free subnet, for a node that has none."""
    node = observed.node
    if get_cidrs(node) or node.metadata.deletion_timestamp is not None:
        return Plan()
    free = choose_free_subnet(cluster_cidr, mask_size, observed.taken)
    if free is None:
        said = (
            f"No free /{mask_size} is left in the cluster CIDR {cluster_cidr} for node {node.metadata.name}"
        )
        return Plan(
            (Announce(Note(build_reference(NODES, node), "CIDRNotAvailable", said, EventType.WARNING)),)
        )
    # The UID makes it conditional: another node that has taken the name must not get this one's subnet.
    body = {"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": str(free), "podCIDRs": [str(free)]}}
    return Plan((MergePatch(NODES, node.key, body),))


def choose_free_subnet(cluster_cidr: Network, mask_size: int, taken: Iterable[str]) -> Network | None:
    """The lowest subnet that overlaps nothing that is taken; CIDRs that can't be read are passed over."""
    networks = [network for network in map(_parse, taken) if network is not None]
    occupied = sorted(networks, key=lambda each: int(each.network_address))
    step = 1 << (cluster_cidr.max_prefixlen - mask_size)
    first = int(cluster_cidr.network_address)
    end = first + cluster_cidr.num_addresses
    for network in occupied:
        if network.version != cluster_cidr.version or int(network.broadcast_address) < first:
            continue
        if int(network.network_address) >= first + step:
            break
        past = int(network.broadcast_address) + 1
        first += -(-(past - first) // step) * step
    if first + step > end:
        return None
    return type(cluster_cidr)((first, mask_size))


def _parse(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
