"""Which routes this node needs to reach the other nodes' pods, and how what is there differs.

Pure. A route of ours carries protocol number 66, so that only ours are ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from kubeapi.core import Node

ROUTE_PROTOCOL: Final = 66


@dataclass(frozen=True, slots=True, order=True)
class PodRoute:
    """To a node's pods (`destination`, a CIDR) by way of that node's address (`gateway`)."""

    destination: str
    gateway: str


@dataclass(frozen=True, slots=True)
class RouteChange:
    """Routes to put in place, and then routes to remove; both sorted."""

    replace: tuple[PodRoute, ...] = ()
    remove: tuple[PodRoute, ...] = ()


def compute_routes(nodes: Iterable[Node], own_name: str) -> frozenset[PodRoute]:
    """A route to each pod CIDR of each other node that has an internal address of the same family."""
    return frozenset(
        PodRoute(cidr, gateway)
        for node in nodes
        if node.metadata.name != own_name
        for cidr in read_pod_cidrs(node)
        if (gateway := _find_gateway(node, ip_network(cidr).version)) is not None
    )


def read_pod_cidrs(node: Node) -> tuple[str, ...]:
    """The node's pod CIDRs in canonical form; what isn't a CIDR is left out."""
    return tuple(
        str(ip_network(cidr))
        for cidr in node.spec.pod_cidrs or (node.spec.pod_cidr,)
        if cidr and _is_network(cidr)
    )


def diff_routes(wanted: frozenset[PodRoute], present: frozenset[PodRoute]) -> RouteChange:
    """How to get from the present routes of ours to the wanted ones.

    A destination whose gateway changes is replaced in place, so that it is never without a route.
    """
    kept = {route.destination for route in wanted}
    return RouteChange(
        replace=tuple(sorted(wanted - present)),
        remove=tuple(sorted(route for route in present if route.destination not in kept)),
    )


def _find_gateway(node: Node, version: int) -> str | None:
    addresses = (entry.address for entry in node.status.addresses if entry.type == "InternalIP")
    return next((address for address in addresses if _version_of(address) == version), None)


def _version_of(address: str) -> int | None:
    try:
        return ip_address(address).version
    except ValueError:
        return None


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
