"""Queries and answers as packets, read and built without a socket."""

from __future__ import annotations

import dnslib
import pytest

from agent.dns.answer import build_alias_answer, build_answers, build_failure, build_query_for
from agent.dns.query import Query, Refusal, read_query
from agent.dns.resolvers import Resolvers, parse_resolv_conf
from agent.dns.wire_cache import (
    AnswerCache,
    ForwardCache,
    PacketError,
    compute_lifetime,
    ttl_offsets,
)
from agent.dns.zone import Found, NoData, NoName, Record, RecordType

NAME = "web.default.svc.cluster.local"


def packet(name: str = NAME, type_: str = "A", *, edns: int = 0, id_: int = 7) -> bytes:
    record = dnslib.DNSRecord(
        dnslib.DNSHeader(id=id_, rd=1), q=dnslib.DNSQuestion(name, getattr(dnslib.QTYPE, type_))
    )
    if edns:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(record.pack())


def query(name: str = NAME, type_: str = "A", *, edns: int = 0, over_tcp: bool = False) -> Query:
    read = read_query(packet(name, type_, edns=edns), over_tcp=over_tcp)
    assert isinstance(read, Query)
    return read


def addresses(count: int) -> Found:
    return Found(
        tuple(Record(NAME, RecordType.A, f"10.0.{each // 250}.{each % 250 + 1}") for each in range(count))
    )


def parsed(answer: bytes) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(answer)


# --- queries ------------------------------------------------------------------------------------------------


def test_a_query_is_read() -> None:
    read = query("Web.DEFAULT.svc.cluster.local", "AAAA")
    assert (read.name, read.type, read.size_limit) == (NAME, RecordType.AAAA, 512)


@pytest.mark.parametrize(
    ("edns", "over_tcp", "limit"),
    [(0, False, 512), (100, False, 512), (1000, False, 1000), (4096, False, 1232), (0, True, 65535)],
)
def test_what_a_client_can_take(edns: int, over_tcp: bool, limit: int) -> None:
    assert query(edns=edns, over_tcp=over_tcp).size_limit == limit


def test_types_that_the_zone_does_not_hold() -> None:
    assert query(type_="MX").type is RecordType.OTHER


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (packet()[:20], 1),
        (packet()[:12] + b"\xc0\x0c\x00\x01\x00\x01", 1),
        (b"\x00\x07\x01\x00" + bytes(8), 1),
        (packet()[:2] + b"\x29\x00" + packet()[4:], 4),
        (packet()[:-1] + b"\x03", 4),
    ],
)
def test_what_is_refused(wire: bytes, code: int) -> None:
    read = read_query(wire, over_tcp=False)
    assert isinstance(read, Refusal)
    refusal = parsed(read.packet)
    assert (refusal.header.id, refusal.header.qr, refusal.header.rcode) == (7, 1, code)


@pytest.mark.parametrize("wire", [b"", b"\x00\x07", packet()[:2] + b"\x81\x80" + packet()[4:]])
def test_what_gets_no_answer(wire: bytes) -> None:
    assert read_query(wire, over_tcp=False) == Refusal(b"")


# --- answers ------------------------------------------------------------------------------------------------


def test_an_address() -> None:
    (answer,) = build_answers(query("WEB.default.svc.cluster.local"), addresses(1), "cluster.local")
    reply = parsed(answer)
    assert (reply.header.id, reply.header.qr, reply.header.aa, reply.header.ra, reply.header.rd) == (
        7,
        1,
        1,
        1,
        1,
    )
    assert str(reply.q.qname) == "WEB.default.svc.cluster.local."
    assert [(str(rr.rname), str(rr.rdata), rr.ttl) for rr in reply.rr] == [
        ("WEB.default.svc.cluster.local.", "10.0.0.1", 5)
    ]
    assert len(answer) == len(packet()) + 16  # The owner's name is a pointer to the question's.


def test_several_addresses_take_turns() -> None:
    answers = build_answers(query(), addresses(3), "cluster.local")
    firsts = [str(parsed(answer).rr[0].rdata) for answer in answers]
    assert firsts == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert all(len(parsed(answer).rr) == 3 for answer in answers)


@pytest.mark.parametrize(("found", "code"), [(NoData(), 0), (NoName(), 3)])
def test_nothing_there(found: NoData | NoName, code: int) -> None:
    (answer,) = build_answers(query(), found, "cluster.local")
    reply = parsed(answer)
    assert (reply.header.rcode, reply.rr) == (code, [])
    (soa,) = reply.auth
    assert (str(soa.rname), soa.ttl, soa.rdata.times[4]) == ("cluster.local.", 5, 5)


def test_every_type() -> None:
    cases = (
        (Record(NAME, RecordType.AAAA, "fd00::1"), "fd00::1"),
        (Record(NAME, RecordType.SRV, "h.cluster.local", 80), "0 100 80 h.cluster.local."),
        (Record(NAME, RecordType.PTR, "h.cluster.local"), "h.cluster.local."),
        (Record(NAME, RecordType.CNAME, "h.example.com"), "h.example.com."),
        (Record(NAME, RecordType.TXT, "1.1.0"), '"1.1.0"'),
        (Record(NAME, RecordType.NS, "ns.dns.cluster.local"), "ns.dns.cluster.local."),
    )
    for record, text in cases:
        (answer,) = build_answers(query(type_=record.type.value), Found((record,)), "cluster.local")
        assert [str(rr.rdata) for rr in parsed(answer).rr] == [text]


def test_edns_is_answered_with_edns() -> None:
    (answer,) = build_answers(query(edns=1400), addresses(1), "cluster.local")
    assert [rr.rtype for rr in parsed(answer).ar] == [dnslib.QTYPE.OPT]


@pytest.mark.parametrize(("edns", "count"), [(0, 27), (1232, 70)])
def test_what_does_not_fit_is_cut_and_marked(edns: int, count: int) -> None:
    answer = build_answers(query(edns=edns), addresses(200), "cluster.local")[0]
    reply = parsed(answer)
    assert len(answer) <= max(edns, 512)
    assert reply.header.tc == 1
    assert count - 3 <= len(reply.rr) <= count + 3


def test_additional_records_go_first() -> None:
    targets = tuple(Record(NAME, RecordType.SRV, f"h{each}.cluster.local", 80) for each in range(12))
    extra = tuple(Record(f"h{each}.cluster.local", RecordType.A, f"10.0.0.{each}") for each in range(12))
    (answer,) = build_answers(query(type_="SRV"), Found(targets, extra), "cluster.local")
    reply = parsed(answer)
    assert (len(reply.rr), len(reply.ar), reply.header.tc) == (12, 0, 0)


def test_over_tcp_everything_fits() -> None:
    answer = build_answers(query(over_tcp=True), addresses(1500), "cluster.local")[0]
    assert len(parsed(answer).rr) == 1500


def test_an_alias_that_leads_outside() -> None:
    question = build_query_for("www.example.com", query())
    assert str(parsed(question).q.qname) == "www.example.com."
    elsewhere = parsed(question).reply()
    elsewhere.add_answer(*dnslib.RR.fromZone("www.example.com 60 A 192.0.2.1"))
    alias = Record(NAME, RecordType.CNAME, "www.example.com")
    reply = parsed(build_alias_answer(query(), (alias,), elsewhere.pack()))
    assert (reply.header.id, reply.header.aa) == (7, 0)
    assert [(str(rr.rname), str(rr.rdata)) for rr in reply.rr] == [
        (f"{NAME}.", "www.example.com."),
        ("www.example.com.", "192.0.2.1"),
    ]


def test_a_failure() -> None:
    assert parsed(build_failure(query())).header.rcode == 2


# --- caches -------------------------------------------------------------------------------------------------


def test_answers_are_kept_while_the_zone_is_the_same() -> None:
    cache = AnswerCache()
    assert cache.find(packet(), 1, False) is None
    cache.keep(packet(), (b"\x00\x07one", b"\x00\x07two"), 1, False)
    assert {cache.find(packet(id_=9), 1, False) for _ in range(2)} == {b"\x00\x09one", b"\x00\x09two"}
    assert cache.find(packet(), 1, True) is None
    assert cache.find(packet(type_="AAAA"), 1, False) is None
    assert cache.find(packet(), 2, False) is None


def test_the_cache_is_bounded() -> None:
    cache = AnswerCache(limit=2)
    for name in ("a", "b", "c"):
        cache.keep(packet(name), (b"\x00\x07x",), 1, False)
    assert cache.find(packet("a"), 1, False) is None
    assert cache.find(packet("c"), 1, False) is not None


def answer_with(*records: str, rcode: int = 0, authority: str = "") -> bytes:
    reply = parsed(packet("example.com", edns=1232)).reply()
    for record in records:
        reply.add_answer(*dnslib.RR.fromZone(record))
    if authority:
        reply.add_auth(*dnslib.RR.fromZone(authority))
    reply.header.rcode = rcode
    reply.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(reply.pack())


def test_times_to_live_count_down() -> None:
    cache, asked = ForwardCache(), packet("example.com")
    cache.keep(asked, answer_with("example.com 20 A 192.0.2.1", "example.com 25 A 192.0.2.2"), False, 100.0)
    kept = cache.find(packet("example.com", id_=99), False, 107.9)
    assert kept is not None
    assert parsed(kept).header.id == 99
    assert [rr.ttl for rr in parsed(kept).rr] == [13, 18]
    assert cache.find(asked, False, 120.0) is None


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (answer_with("example.com 20 A 192.0.2.1"), 20.0),
        (answer_with("example.com 20 A 192.0.2.1", "example.com 7 A 192.0.2.2"), 7.0),
        (answer_with(), 0.0),
        (answer_with(authority="com 9 SOA a.b c.d 1 2 3 4 5"), 9.0),
        (answer_with(rcode=3, authority="com 9 SOA a.b c.d 1 2 3 4 5"), 9.0),
        (answer_with("example.com 20 A 192.0.2.1", rcode=2), 0.0),
        (answer_with("example.com 0 A 192.0.2.1"), 0.0),
    ],
)
def test_how_long_an_answer_lives(answer: bytes, seconds: float) -> None:
    assert compute_lifetime(answer) == seconds


def test_broken_packets_are_not_kept() -> None:
    good = answer_with("example.com 20 A 192.0.2.1")
    cache = ForwardCache()
    for end in range(len(good)):
        with pytest.raises(PacketError):
            list(ttl_offsets(good[:end]))
        cache.keep(packet(), good[:end], False, 0.0)
    assert cache.find(packet(), False, 0.0) is None


def test_the_least_used_is_forgotten() -> None:
    cache, answer = ForwardCache(limit=2), answer_with("example.com 20 A 192.0.2.1")
    for name in ("a", "b"):
        cache.keep(packet(name), answer, False, 0.0)
    cache.find(packet("a"), False, 1.0)
    cache.keep(packet("c"), answer, False, 2.0)
    assert cache.find(packet("b"), False, 3.0) is None
    assert cache.find(packet("a"), False, 3.0) is not None


# --- resolvers ----------------------------------------------------------------------------------------------


def test_resolv_conf() -> None:
    lines = ("# c", "search x", "nameserver 192.0.2.1", "nameserver", "nameserver bad", "nameserver fd00::1 ")
    assert parse_resolv_conf("\n".join((*lines, "nameserver 192.0.2.1"))) == ("192.0.2.1", "fd00::1")


def test_the_failed_come_last_for_a_while() -> None:
    resolvers = Resolvers("10.96.0.10", "token")
    assert resolvers.set_addresses(["192.0.2.1", "10.96.0.10", "192.0.2.2"])
    assert resolvers.in_order(0.0) == ("192.0.2.1", "192.0.2.2")
    resolvers.note_failure("192.0.2.1", 0.0)
    assert resolvers.in_order(5.0) == ("192.0.2.2", "192.0.2.1")
    assert resolvers.in_order(11.0) == ("192.0.2.1", "192.0.2.2")
    resolvers.note_failure("192.0.2.1", 20.0)
    resolvers.note_success("192.0.2.1")
    assert resolvers.in_order(21.0) == ("192.0.2.1", "192.0.2.2")


def test_a_resolver_that_loops_is_left_out() -> None:
    resolvers = Resolvers("10.96.0.10", "Token")
    resolvers.set_addresses(["192.0.2.1", "192.0.2.2"])
    (_first, (address, name)) = resolvers.probes()
    assert address == "192.0.2.2"
    assert resolvers.note_name("other.1.berth-loop-probe") is None
    assert resolvers.note_name("token.7.berth-loop-probe") is None
    assert resolvers.note_name(name.lower()) == "192.0.2.2"
    assert resolvers.note_name(name.lower()) is None
    assert resolvers.in_order(0.0) == ("192.0.2.1",)
    assert not resolvers.set_addresses(["192.0.2.1", "192.0.2.2"])
