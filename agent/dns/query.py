"""One DNS query as it came over the wire: read once, and judged whether it can be answered at all.

Pure. Called by `agent.dns.server`. dnslib reads the packet; what it can't read, and what this server doesn't
serve, becomes a ready refusal. Follows RFC 1035, RFC 6891 (EDNS) and RFC 9619 (one question).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import dnslib

from agent.dns.zone import RecordType

UDP_LIMIT_WITHOUT_EDNS: Final = 512
UDP_LIMIT: Final = 1232
TCP_LIMIT: Final = 65535
_CLASS_IN: Final = 1
_HEADER_BYTES: Final = 12

_TYPES: Final = {
    getattr(dnslib.QTYPE, type_.value): type_ for type_ in RecordType if type_ is not RecordType.OTHER
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query worth answering; `name` is in lower case without its last dot, `size_limit` in bytes."""

    packet: bytes
    parsed: dnslib.DNSRecord
    name: str
    type: RecordType
    size_limit: int

    @property
    def wants_edns(self) -> bool:
        return any(record.rtype == dnslib.QTYPE.OPT for record in self.parsed.ar)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a query that can't be served; empty when not even that is due."""

    packet: bytes


def read_query(packet: bytes, *, over_tcp: bool) -> Query | Refusal:
    """The query in a packet from anywhere in the network."""
    if len(packet) < _HEADER_BYTES or packet[2] & 0x80:
        return Refusal(b"")  # Too short for an id to answer to, or an answer: answering those makes loops.
    try:
        parsed = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, ValueError, struct.error, IndexError):
        return Refusal(_refuse(packet, dnslib.RCODE.FORMERR))
    if parsed.header.opcode != dnslib.OPCODE.QUERY:
        return Refusal(_refuse(packet, dnslib.RCODE.NOTIMP))
    if len(parsed.questions) != 1:
        return Refusal(_refuse(packet, dnslib.RCODE.FORMERR))
    question = parsed.questions[0]
    if question.qclass != _CLASS_IN:
        return Refusal(_refuse(packet, dnslib.RCODE.NOTIMP))
    name = read_name(question.qname)
    limit = TCP_LIMIT if over_tcp else _udp_limit(parsed)
    return Query(packet, parsed, name, _TYPES.get(question.qtype, RecordType.OTHER), limit)


def read_name(label: dnslib.DNSLabel) -> str:
    """A name as the zone knows it. Bytes beyond ASCII stay apart from all others, so they match nothing."""
    return b".".join(label.label).decode("latin-1").lower()


def _udp_limit(parsed: dnslib.DNSRecord) -> int:
    for record in parsed.ar:
        if record.rtype == dnslib.QTYPE.OPT:
            return max(UDP_LIMIT_WITHOUT_EDNS, min(int(record.rclass), UDP_LIMIT))
    return UDP_LIMIT_WITHOUT_EDNS


def _refuse(packet: bytes, code: int) -> bytes:
    """The query's id and flags, and nothing else: the rest may be unreadable."""
    flags = 0x80 | (packet[2] & 0x79)
    return packet[:2] + bytes((flags, code)) + bytes(8)
