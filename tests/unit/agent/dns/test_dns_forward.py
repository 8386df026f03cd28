"""Forwarding to resolvers on loopback: good ones, silent ones, unwilling ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dnslib
import pytest

from agent.dns import forward
from agent.dns.forward import Forwarder, ForwardError, cut_short
from agent.dns.resolvers import Resolvers
from tests.fakes.fake_resolver import FakeResolver

NAME = "www.example.com"


def question(name: str = NAME, id_: int = 7) -> bytes:
    return bytes(dnslib.DNSRecord(dnslib.DNSHeader(id=id_, rd=1), q=dnslib.DNSQuestion(name)).pack())


def addresses_in(packet: bytes) -> list[str]:
    return [str(record.rdata) for record in dnslib.DNSRecord.parse(packet).rr]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "_ATTEMPT_SECONDS", 0.1)
    monkeypatch.setattr(forward, "DEADLINE_SECONDS", 1.0)


@asynccontextmanager
async def forwarding(tmp_path: Path, *resolvers: FakeResolver) -> AsyncIterator[Forwarder]:
    """A forwarder that knows one or two resolvers, at 127.0.0.1 and 127.0.0.2 on the same port."""
    lines = [f"nameserver 127.0.0.{number}" for number in range(1, len(resolvers) + 1)]
    path = tmp_path / "resolv.conf"
    path.write_text("\n".join(lines))
    first, *others = resolvers
    async with first.serve("127.0.0.1") as port:
        known = Resolvers("10.96.0.10", "token")
        if others:
            async with others[0].serve("127.0.0.2", port):
                yield Forwarder(path, known, port=port)
        else:
            yield Forwarder(path, known, port=port)


async def test_an_answer_is_passed_on_and_kept(tmp_path: Path) -> None:
    resolver = FakeResolver({NAME: ("192.0.2.1",)})
    async with forwarding(tmp_path, resolver) as forwarder:
        answer = await forwarder.resolve(question(), False, 512)
        assert (answer[:2], addresses_in(answer)) == (b"\x00\x07", ["192.0.2.1"])
        again = await forwarder.resolve(question(id_=9), False, 512)
        assert (again[:2], addresses_in(again)) == (b"\x00\x09", ["192.0.2.1"])
        assert forwarder.find(question(), False) is not None
    assert resolver.asked == [("udp", NAME)]


async def test_a_missing_name_is_an_answer(tmp_path: Path) -> None:
    async with forwarding(tmp_path, FakeResolver()) as forwarder:
        answer = await forwarder.resolve(question(), False, 512)
    assert dnslib.DNSRecord.parse(answer).header.rcode == 3


async def test_forged_answers_are_passed_over(tmp_path: Path) -> None:
    forged = dnslib.DNSRecord.parse(question("other.example.com")).reply()
    resolver = FakeResolver({NAME: ("192.0.2.1",)}, garbage=bytes(forged.pack()))
    async with forwarding(tmp_path, resolver) as forwarder:
        assert addresses_in(await forwarder.resolve(question(), False, 512)) == ["192.0.2.1"]


async def test_a_short_answer_is_asked_again_over_tcp(tmp_path: Path) -> None:
    resolver = FakeResolver({NAME: tuple(f"192.0.2.{each}" for each in range(100))}, truncates=True)
    async with forwarding(tmp_path, resolver) as forwarder:
        answer = await forwarder.resolve(question(), False, 512)
        assert len(addresses_in(answer)) == 100
        assert forwarder.find(question(), False) is None  # The next client could not take it either.
    assert resolver.asked == [("udp", NAME), ("tcp", NAME)]
    short = dnslib.DNSRecord.parse(cut_short(answer))
    assert (short.header.tc, short.header.id, str(short.q.qname), short.rr) == (1, 7, f"{NAME}.", [])


async def test_what_came_over_tcp_goes_over_tcp(tmp_path: Path) -> None:
    resolver = FakeResolver({NAME: ("192.0.2.1",)})
    async with forwarding(tmp_path, resolver) as forwarder:
        await forwarder.resolve(question(), True, 65535)
    assert resolver.asked == [("tcp", NAME)]


async def test_a_silent_resolver_is_asked_last_from_then_on(tmp_path: Path) -> None:
    silent, good = FakeResolver(silent=True), FakeResolver({NAME: ("192.0.2.1",), "b": ("192.0.2.2",)})
    async with forwarding(tmp_path, silent, good) as forwarder:
        assert addresses_in(await forwarder.resolve(question(), False, 512)) == ["192.0.2.1"]
        assert addresses_in(await forwarder.resolve(question("b"), False, 512)) == ["192.0.2.2"]
    assert silent.asked == [("udp", NAME)]


async def test_a_refusal_is_not_the_last_word(tmp_path: Path) -> None:
    refusing, good = FakeResolver(rcode=5), FakeResolver({NAME: ("192.0.2.1",)})
    async with forwarding(tmp_path, refusing, good) as forwarder:
        assert addresses_in(await forwarder.resolve(question(), False, 512)) == ["192.0.2.1"]
    async with forwarding(tmp_path, FakeResolver(rcode=5)) as forwarder:
        answer = await forwarder.resolve(question(), False, 512)
        assert dnslib.DNSRecord.parse(answer).header.rcode == 5


async def test_nobody_answers(tmp_path: Path) -> None:
    async with forwarding(tmp_path, FakeResolver(silent=True)) as forwarder:
        with pytest.raises(ForwardError, match=r"no resolver of .*resolv\.conf answered"):
            await forwarder.resolve(question(), False, 512)


async def test_there_are_no_resolvers(tmp_path: Path) -> None:
    forwarder = Forwarder(tmp_path / "absent", Resolvers("10.96.0.10", "token"))
    with pytest.raises(ForwardError, match="no resolver"):
        await forwarder.resolve(question(), False, 512)


async def test_resolvers_are_read_again(tmp_path: Path) -> None:
    now, path = [0.0], tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1")
    resolvers = Resolvers("10.96.0.10", "token")
    forwarder = Forwarder(path, resolvers, clock=lambda: now[0])
    assert forwarder.reread_resolvers()
    path.write_text("nameserver 192.0.2.2")
    assert not forwarder.reread_resolvers()
    now[0] = 3.0
    assert forwarder.reread_resolvers()
    assert resolvers.in_order(3.0) == ("192.0.2.2",)


async def test_each_resolver_is_probed(tmp_path: Path) -> None:
    resolver = FakeResolver()
    async with forwarding(tmp_path, resolver) as forwarder:
        forwarder.reread_resolvers()
        await forwarder.probe_for_loops()
    assert resolver.asked == [("udp", "token.0.berth-loop-probe")]
