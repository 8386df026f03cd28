"""Turns what the zone says into a packet: records, flags, the zone's SOA, and what fits.

Pure. Called by `agent.dns.server`; dnslib writes the packet. The question is sent back as it came, so that
its letters keep their case. Follows RFC 1035, RFC 2308 (negative answers) and RFC 6891.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

import dnslib

from agent.dns.query import UDP_LIMIT, Query
from agent.dns.zone import Found, NoData, NoName, Record, RecordType

TTL_SECONDS: Final = 5
"""Short, because names change with the pods behind them."""

_MOST_ROTATIONS: Final = 8
_MOST_RECORDS_TO_ROTATE: Final = 64
_SMALLEST_RECORD_BYTES: Final = 12
_SRV_PRIORITY: Final = 0
_SRV_WEIGHT: Final = 100


def build_answers(query: Query, found: Found | NoData | NoName, domain: str) -> tuple[bytes, ...]:
    """The answer's packet. Several addresses give several packets, each beginning with another address.

    Clients take the first address, so sending the packets in turn spreads them.
    """
    match found:
        case Found():
            return tuple(
                _build(query, dnslib.RCODE.NOERROR, records, found.additional, None)
                for records in _rotations(found.records)
            )
        case NoData():
            return (_build(query, dnslib.RCODE.NOERROR, found.records, (), domain),)
        case NoName():
            return (_build(query, dnslib.RCODE.NXDOMAIN, found.records, (), domain),)
        case _:
            assert_never(found)


def build_failure(query: Query) -> bytes:
    """SERVFAIL: the answer isn't known here and now."""
    return bytes(_reply(query, dnslib.RCODE.SERVFAIL, authoritative=False).pack())


def build_alias_answer(query: Query, aliases: tuple[Record, ...], packet: bytes) -> bytes:
    """The aliases, followed by what another server answered for the name they end in.

    Raises dnslib.DNSError when that answer can't be read.
    """
    elsewhere = dnslib.DNSRecord.parse(packet)
    reply = _reply(query, elsewhere.header.rcode, authoritative=False)
    reply.add_answer(*(_to_wire(query, record) for record in aliases), *elsewhere.rr)
    return _fit(reply, query)


def build_query_for(name: str, query: Query) -> bytes:
    """The same question about another name."""
    question = dnslib.DNSQuestion(name, query.parsed.questions[0].qtype)
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=0, rd=1), q=question)
    record.add_ar(dnslib.EDNS0(udp_len=UDP_LIMIT))
    return bytes(record.pack())


def _build(
    query: Query,
    code: int,
    records: tuple[Record, ...],
    additional: Iterable[Record],
    domain: str | None,
) -> bytes:
    reply = _reply(query, code, authoritative=True)
    # One more than could fit, so that what is left out is noticed below.
    most = query.size_limit // _SMALLEST_RECORD_BYTES + 1
    reply.add_answer(*(_to_wire(query, record) for record in records[:most]))
    if domain is not None:
        reply.add_auth(_soa(domain))
    reply.add_ar(*(_to_wire(query, record) for record in additional))
    return _fit(reply, query)


def _reply(query: Query, code: int, *, authoritative: bool) -> dnslib.DNSRecord:
    header = query.parsed.header
    reply = dnslib.DNSRecord(
        dnslib.DNSHeader(id=header.id, qr=1, aa=int(authoritative), ra=1, rd=header.rd, rcode=code),
        q=query.parsed.questions[0],
    )
    if query.wants_edns:
        reply.add_ar(dnslib.EDNS0(udp_len=UDP_LIMIT))
    return reply


def _fit(reply: dnslib.DNSRecord, query: Query) -> bytes:
    """The packet within the client's limit: without additional records, then cut short and marked so."""
    packet = bytes(reply.pack())
    if len(packet) <= query.size_limit:
        return packet
    reply.ar = [record for record in reply.ar if record.rtype == dnslib.QTYPE.OPT]
    packet = bytes(reply.pack())
    while len(packet) > query.size_limit:
        reply.header.tc = 1
        # Every record takes about the same room, so this gets there in two or three steps.
        keep = len(reply.rr) * query.size_limit // len(packet)
        reply.rr = reply.rr[: min(keep, len(reply.rr) - 1)]
        packet = bytes(reply.pack())
    return packet


def _rotations(records: tuple[Record, ...]) -> Iterable[tuple[Record, ...]]:
    aliases = tuple(record for record in records if record.type is RecordType.CNAME)
    rest = records[len(aliases) :]
    if not rest or rest[0].type not in (RecordType.A, RecordType.AAAA):
        yield records
        return
    few = len(rest) <= _MOST_RECORDS_TO_ROTATE  # Building long packets takes its time.
    for first in range(min(len(rest), _MOST_ROTATIONS if few else 2)):
        yield aliases + rest[first:] + rest[:first]


def _to_wire(query: Query, record: Record) -> dnslib.RR:
    asked = query.parsed.questions[0].qname
    owner = asked if record.name == query.name else record.name
    return dnslib.RR(owner, getattr(dnslib.QTYPE, record.type.value), ttl=TTL_SECONDS, rdata=_data(record))


def _data(record: Record) -> dnslib.RD:
    match record.type:
        case RecordType.A:
            return dnslib.A(record.value)
        case RecordType.AAAA:
            return dnslib.AAAA(record.value)
        case RecordType.SRV:
            return dnslib.SRV(_SRV_PRIORITY, _SRV_WEIGHT, record.port, record.value)
        case RecordType.PTR:
            return dnslib.PTR(record.value)
        case RecordType.CNAME:
            return dnslib.CNAME(record.value)
        case RecordType.TXT:
            return dnslib.TXT(record.value)
        case RecordType.NS:
            return dnslib.NS(record.value)
        case RecordType.SOA:
            return _soa(record.name).rdata
        case RecordType.OTHER:
            raise ValueError(f"the zone holds no such record: {record}")
        case _:
            assert_never(record.type)


def _soa(domain: str) -> dnslib.RR:
    """Says for how long a client may remember that something isn't there."""
    # The serial never changes, because nobody transfers this zone.
    times = (1, 7200, 1800, 86400, TTL_SECONDS)
    data = dnslib.SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times)
    return dnslib.RR(domain, dnslib.QTYPE.SOA, ttl=TTL_SECONDS, rdata=data)
