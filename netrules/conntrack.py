"""Which tracked connections no longer lead anywhere, and how the kernel is told to forget them.

Pure: plans and bytes. UDP has no end of connection: a client that keeps its port would be sent to an endpoint
that is gone, or past a Service that has endpoints again, for as long as it keeps talking. `conntrack_client`
does the exchange. Message numbers are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from netrules.model import Family, Protocol
from netrules.netlink import (
    attribute,
    nested,
    pack_address,
    parse_attributes,
    unpack_address,
)
from netrules.nftables.expressions import FAMILY_NUMBERS
from netrules.services import Backend, Intent, ServiceIntent

_SUBSYSTEM: Final = 1
GET: Final = _SUBSYSTEM << 8 | 1
DELETE: Final = _SUBSYSTEM << 8 | 2

_TUPLE_ORIGINAL, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT = 1, 2, 3
_IP_DESTINATION: Final = {Family.IPV4: 2, Family.IPV6: 4}
_IP_SOURCE: Final = {Family.IPV4: 1, Family.IPV6: 3}
_FILTER_ORIGINAL_FLAGS: Final = 1
_MATCH_IP_DESTINATION, _MATCH_PROTO_NUMBER, _MATCH_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5


@dataclass(frozen=True, slots=True)
class StaleFlows:
    """UDP flows that clients opened to this address (empty: any) and port.

    With `to`, those that were sent to one of these endpoints; without, all that were sent to none of `keep`.
    """

    address: str
    port: int
    to: frozenset[tuple[str, int]] = frozenset()
    keep: frozenset[tuple[str, int]] = frozenset()


def plan_stale_flows(old: tuple[Intent, ...], new: tuple[Intent, ...]) -> tuple[StaleFlows, ...]:
    """What one owner's change leaves behind in the connection tracker; nothing where no UDP endpoint left.

    A port that gets its first endpoints may have clients whose packets went elsewhere until now.
    """
    current = {intent.name: intent for intent in new if isinstance(intent, ServiceIntent)}
    flows: list[StaleFlows] = []
    for intent in old:
        if isinstance(intent, ServiceIntent) and intent.protocol is Protocol.UDP:
            flows += _left_behind(intent, current.pop(intent.name, None))
    for intent in current.values():
        if intent.protocol is Protocol.UDP:
            flows += _went_elsewhere(intent)
    return tuple(flows)


def _went_elsewhere(new: ServiceIntent) -> list[StaleFlows]:
    inside, outside = _targets(new.endpoints), _targets(new.outside_endpoints)
    return [
        *(StaleFlows(address, new.port, keep=inside) for address in new.cluster_addresses if inside),
        *(StaleFlows(address, new.port, keep=outside) for address in new.external_addresses if outside),
    ]


def _left_behind(old: ServiceIntent, new: ServiceIntent | None) -> list[StaleFlows]:
    flows: list[StaleFlows] = []
    inside_now = _targets(new.endpoints) if new else frozenset()
    outside_now = _targets(new.outside_endpoints) if new else frozenset()
    for address in old.cluster_addresses:
        kept = new is not None and address in new.cluster_addresses and new.port == old.port
        flows += _frontend_flows(address, old.port, old.endpoints, inside_now if kept else frozenset())
    for address in old.external_addresses:
        kept = new is not None and address in new.external_addresses and new.port == old.port
        flows += _frontend_flows(
            address, old.port, old.outside_endpoints, outside_now if kept else frozenset()
        )
    if old.node_port:
        kept = new is not None and new.node_port == old.node_port
        flows += _frontend_flows(
            "", old.node_port, old.outside_endpoints, outside_now if kept else frozenset()
        )
    return flows


def _frontend_flows(
    address: str, port: int, before: tuple[Backend, ...], now: frozenset[tuple[str, int]]
) -> list[StaleFlows]:
    gone = _targets(before) - now
    if gone:
        return [StaleFlows(address, port, to=gone)]
    if now and not before and address:
        return [StaleFlows(address, port, keep=now)]
    return []


def _targets(backends: tuple[Backend, ...]) -> frozenset[tuple[str, int]]:
    return frozenset((backend.address, backend.port) for backend in backends)


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection: its own tuple as the kernel gave it, and who answers it."""

    original: bytes
    answered_by: tuple[str, int]


def is_stale(flow: Flow, flows: StaleFlows) -> bool:
    return flow.answered_by in flows.to if flows.to else flow.answered_by not in flows.keep


def encode_dump_request(flows: StaleFlows, family: Family) -> bytes:
    """A dump that the kernel filters by destination, so that foreign entries cost no copy."""
    wanted = _MATCH_PROTO_NUMBER | _MATCH_DESTINATION_PORT
    ip = b""
    if flows.address:
        wanted |= _MATCH_IP_DESTINATION
        ip = nested(_TUPLE_IP, attribute(_IP_DESTINATION[family], pack_address(flows.address)))
    proto = nested(
        _TUPLE_PROTO,
        attribute(_PROTO_NUMBER, bytes([Protocol.UDP])),
        attribute(_PROTO_DESTINATION_PORT, flows.port.to_bytes(2, "big")),
    )
    # The flags are in host order, unlike everything else here.
    filter_flags = nested(_FILTER, attribute(_FILTER_ORIGINAL_FLAGS, struct.pack("=I", wanted)))
    return _header(family) + nested(_TUPLE_ORIGINAL, ip, proto) + filter_flags


def decode_flow(payload: bytes, family: Family) -> Flow | None:
    """The flow of one dumped message, or None for an entry without ports."""
    attributes = dict(parse_attributes(payload[4:]))
    reply = dict(parse_attributes(attributes.get(_TUPLE_REPLY, b"")))
    ip = dict(parse_attributes(reply.get(_TUPLE_IP, b"")))
    proto = dict(parse_attributes(reply.get(_TUPLE_PROTO, b"")))
    source, port = ip.get(_IP_SOURCE[family]), proto.get(_PROTO_SOURCE_PORT)
    if source is None or port is None:
        return None
    return Flow(attributes[_TUPLE_ORIGINAL], (unpack_address(source), int.from_bytes(port, "big")))


def matches_request(flow: Flow, flows: StaleFlows, family: Family) -> bool:
    """Whether the flow is one of those asked for; kernels before 5.8 ignore the filter and dump all."""
    original = dict(parse_attributes(flow.original))
    ip = dict(parse_attributes(original.get(_TUPLE_IP, b"")))
    proto = dict(parse_attributes(original.get(_TUPLE_PROTO, b"")))
    address = ip.get(_IP_DESTINATION[family], b"")
    return (
        proto.get(_PROTO_NUMBER) == bytes([Protocol.UDP])
        and proto.get(_PROTO_DESTINATION_PORT) == flows.port.to_bytes(2, "big")
        and (not flows.address or address == pack_address(flows.address))
    )


def encode_delete_request(flow: Flow, family: Family) -> bytes:
    return _header(family) + nested(_TUPLE_ORIGINAL, flow.original)


def _header(family: Family) -> bytes:
    return struct.pack("=BBH", FAMILY_NUMBERS[family], 0, 0)
