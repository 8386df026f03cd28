"""Cluster IPs and node ports of Services: what a Service keeps, what it is given, what it may not have.

Pure: what is taken, and the source of randomness, arrive as arguments. The registry calls
`prepare_service_update` before validating an update, and `allocate_service` before storing. What is free is
split in two bands, as upstream does: a small lower one for addresses that people choose, a large upper one to
choose from, so that the two seldom collide. Follows KEP 3070 (cluster IPs) and KEP 3668 (node ports).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from random import Random
from typing import Any, Final

from controlplane.apiserver.openapi.schema import Document
from controlplane.apiserver.validation import Cause
from controlplane.apiserver.validation.causes import invalid

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

HEADLESS: Final = "None"
DEFAULT_NODE_PORTS: Final = range(30_000, 32_768)
_LARGEST_RANGE: Final = 2**20  # of a wider IPv6 network only the first million addresses are used
_EXTERNAL_TYPES: Final = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Ranges:
    """What may be given out; one network for each address family, the primary family's first.

    Reserved addresses, such as the cluster DNS server's, are only for a Service that asks for them.
    """

    networks: tuple[Network, ...]
    node_ports: range = DEFAULT_NODE_PORTS
    reserved_addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Taken:
    """What Services hold already; the Service in question may be among them."""

    addresses: Container[str] = frozenset()
    node_ports: Container[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Allocation:
    """The Service with its addresses and ports, or the causes why it can't have them."""

    document: Document
    addresses: tuple[str, ...]
    node_ports: tuple[int, ...]
    causes: tuple[Cause, ...]


def allocate_service(
    service: Document, old: Mapping[str, Any] | None, taken: Taken, ranges: Ranges, random: Random
) -> Allocation:
    """The defaulted, valid Service with cluster IPs and node ports filled in; `old` is what it replaces."""
    spec = dict(service["spec"])
    claims = _Claims(taken, ranges, random, *(_held_by(old) if old else (frozenset(), frozenset())))
    if spec["type"] == "ExternalName":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    else:
        _allocate_addresses(spec, claims)
    spec["ports"] = _allocate_ports(spec, claims)
    if not spec["ports"]:
        del spec["ports"]
    return Allocation(
        {**service, "spec": spec},
        tuple(address for address in spec.get("clusterIPs", ()) if address != HEADLESS),
        tuple(port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")),
        tuple(claims.causes),
    )


def prepare_service_update(new: Document, old: Mapping[str, Any]) -> Document:
    """`new` with what `old` was given and `new` doesn't mention, without what its new type has no use for."""
    after, before = dict(new.get("spec", {})), old.get("spec", {})
    is_named = after.get("type") == "ExternalName"
    if not is_named and before.get("type") != "ExternalName":
        for name in ("clusterIP", "clusterIPs"):
            if not after.get(name) and before.get(name):
                after[name] = before[name]
        _follow_cluster_ip(after, before)
    if is_named and after.get("clusterIPs", []) == before.get("clusterIPs", []):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            after.pop(name, None)
    if after.get("ports"):
        after["ports"] = _carry_node_ports(after, before)
    if not _is_external(after) and after.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        after.pop("externalTrafficPolicy", None)
    if after.get("type") != "LoadBalancer":
        after.pop("allocateLoadBalancerNodePorts", None)
    return {**new, "spec": after}


def _follow_cluster_ip(after: Document, before: Mapping[str, Any]) -> None:
    """Who changes only the singular clusterIP means the list's first one; validation then has its say."""
    changed = after.get("clusterIP") != before.get("clusterIP")
    if changed and after.get("clusterIPs") and after["clusterIPs"] == before.get("clusterIPs"):
        after["clusterIPs"] = [after["clusterIP"], *after["clusterIPs"][1:]]


def _is_external(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") in _EXTERNAL_TYPES or bool(spec.get("externalIPs"))


def _carry_node_ports(after: Mapping[str, Any], before: Mapping[str, Any]) -> list[Document]:
    """`new` with what `old` was given and `new` doesn't mention, without what its type has no use for."""
    held = {port.get("name", ""): port.get("nodePort", 0) for port in before.get("ports", ())}
    if after.get("type") not in _EXTERNAL_TYPES:
        return [
            _without_node_port(port)
            if port.get("nodePort") and port["nodePort"] == held.get(port.get("name", ""))
            else port
            for port in after["ports"]
        ]
    used = {port.get("nodePort", 0) for port in after["ports"]} & set(held.values())
    carried = []
    for port in after["ports"]:
        known = held.get(port.get("name", ""), 0)
        if not port.get("nodePort") and known and known not in used:
            used.add(known)
            port = {**port, "nodePort": known}
        carried.append(port)
    return carried


def _without_node_port(port: Mapping[str, Any]) -> Document:
    return {key: value for key, value in port.items() if key != "nodePort"}


def _held_by(service: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[int]]:
    spec = service.get("spec", {})
    return (
        frozenset(spec.get("clusterIPs", ())),
        frozenset(port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")),
    )


@dataclass(slots=True)
class _Claims:
    """One Service's dealings: what others hold, what it holds itself, what went wrong."""

    taken: Taken
    ranges: Ranges
    random: Random
    own_addresses: frozenset[str]
    own_ports: frozenset[int]
    chosen_ports: set[int] = field(default_factory=set)
    causes: list[Cause] = field(default_factory=list)

    def is_address_free(self, address: str) -> bool:
        return address in self.own_addresses or address not in self.taken.addresses

    def may_choose_address(self, address: str) -> bool:
        return address not in self.ranges.reserved_addresses and self.is_address_free(address)

    def is_port_free(self, port: int) -> bool:
        return port in self.own_ports or (port not in self.taken.node_ports and port not in self.chosen_ports)


# --- cluster IPs


def _allocate_addresses(spec: Document, claims: _Claims) -> None:
    given = list(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []))
    if given[:1] == [HEADLESS]:
        spec["clusterIP"], spec["clusterIPs"] = HEADLESS, [HEADLESS]
        return
    for text in given:
        problem = _find_address_problem(text, claims)
        if problem:
            claims.causes.append(
                invalid("spec.clusterIPs", given, f"failed to allocate IP {text}: {problem}")
            )
    if not given:
        chosen = choose_cluster_ip(
            _primary_network(spec, claims.ranges), claims.may_choose_address, claims.random
        )
        if chosen is None:
            claims.causes.append(invalid("spec.clusterIPs", given, "failed to allocate IP: range is full"))
            return
        given = [chosen]
    spec["clusterIP"], spec["clusterIPs"] = given[0], given


def _primary_network(spec: Mapping[str, Any], ranges: Ranges) -> Network:
    """The network of the Service's first family, or the cluster's first one."""
    wanted = (spec.get("ipFamilies") or [""])[0]
    return next(
        (network for network in ranges.networks if f"IPv{network.version}" == wanted), ranges.networks[0]
    )


def _find_address_problem(text: str, claims: _Claims) -> str:
    address = ip_address(text)
    networks = claims.ranges.networks
    if not any(
        address in network and 0 < _offset(address, network) <= _last(network) for network in networks
    ):
        shown = ", ".join(str(network) for network in networks)
        return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {shown}"
    return "" if claims.is_address_free(text) else "provided IP is already allocated"


def choose_cluster_ip(network: Network, is_free: Callable[[str], bool], random: Random) -> str | None:
    """A free address, from the upper band as long as it has one; None when the network is full."""
    first = int(network.network_address)
    make = IPv4Address if network.version == 4 else IPv6Address
    texts = (
        str(make(first + offset))
        for offset in _offsets(1, _last(network) + 1, _address_band(network), random)
    )
    return next((text for text in texts if is_free(text)), None)


def _offset(address: Address, network: Network) -> int:
    return int(address) - int(network.network_address)


def _last(network: Network) -> int:
    """The offset of the last address that may be given out; IPv4's broadcast address may not."""
    return min(network.num_addresses, _LARGEST_RANGE) - (2 if network.version == 4 else 1)


def _address_band(network: Network) -> int:
    return compute_lower_band(_last(network), minimum=16, maximum=256, share=16)


# --- node ports


def _allocate_ports(spec: Mapping[str, Any], claims: _Claims) -> list[Document]:
    ports = [dict(port) for port in spec.get("ports", ())]
    if spec["type"] not in _EXTERNAL_TYPES:
        return ports
    given: dict[int, int] = {}
    for index, port in enumerate(ports):
        if port.get("nodePort"):
            given.setdefault(port["nodePort"], index)
    for number, index in given.items():
        problem = _find_port_problem(number, claims)
        if problem:
            claims.causes.append(invalid(f"spec.ports[{index}].nodePort", number, problem))
    claims.chosen_ports.update(given)
    if spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True):
        for index, port in enumerate(ports):
            if not port.get("nodePort"):
                _give_port(port, index, ports, claims)
    return ports


def _find_port_problem(number: int, claims: _Claims) -> str:
    valid = claims.ranges.node_ports
    if number not in valid:
        return (
            "provided port is not in the valid range. "
            f"The range of valid ports is {valid.start}-{valid.stop - 1}"
        )
    return "" if claims.is_port_free(number) else "provided port is already allocated"


def _give_port(port: Document, index: int, ports: list[Document], claims: _Claims) -> None:
    """A port that another protocol of this Service has under the same number shares its node port."""
    shared = next(
        (
            other["nodePort"]
            for other in ports
            if other.get("nodePort")
            and other.get("port") == port.get("port")
            and other.get("protocol") != port.get("protocol")
        ),
        None,
    )
    chosen = shared or choose_node_port(
        claims.ranges.node_ports,
        lambda number: number not in claims.chosen_ports and claims.is_port_free(number),
        claims.random,
    )
    if chosen is None:
        claims.causes.append(
            invalid(f"spec.ports[{index}].nodePort", 0, "failed to allocate a nodePort: range is full")
        )
        return
    claims.chosen_ports.add(chosen)
    port["nodePort"] = chosen


def choose_node_port(ports: range, is_free: Callable[[int], bool], random: Random) -> int | None:
    """A free port, from the upper band as long as it has one; None when all are taken."""
    band = compute_lower_band(len(ports), minimum=16, maximum=128, share=32)
    offsets = _offsets(0, len(ports), band, random)
    return next((ports[offset] for offset in offsets if is_free(ports[offset])), None)


# --- bands


def compute_lower_band(size: int, *, minimum: int, maximum: int, share: int) -> int:
    """How many of a range's first values are left to people who choose their own."""
    return 0 if size < minimum else min(max(minimum, size // share), maximum)


def _offsets(start: int, stop: int, band: int, random: Random) -> Iterator[int]:
    """Each offset once: the upper band from a random place on and round, then the lower one likewise."""
    for first, end in ((start + band, stop), (start, start + band)):
        size = end - first
        if size > 0:
            turn = random.randrange(size)
            for step in range(size):
                yield first + (turn + step) % size
