"""Cluster DNS in a network namespace of its own: the address on `lo`, port 53, a resolver, and a loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import dnslib
import pytest

from agent.dns.local_address import LocalAddress
from agent.dns.server import DnsServer
from agent.errors import AgentError
from agent.settings import AgentSettings
from kubeapi.client import Client
from kubeapi.informer import Informer
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import ENDPOINT_SLICES, SERVICES
from lab.namespaces import call_in_netns, create_netns, remove_netns, run_in_netns
from tests.fakes.fake_api import FakeApi
from tests.fakes.fake_resolver import FakeResolver

DNS = "10.96.0.10"


@pytest.fixture
def netns() -> Iterator[Path]:
    path = Path(f"/run/netns/berth-test-dns-{os.getpid()}")
    create_netns(path)
    try:
        assert run_in_netns(path, ["ip", "link", "set", "lo", "up"]).returncode == 0
        yield path
    finally:
        remove_netns(path)


def run_inside(netns: Path, work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await work()

    call_in_netns(netns, lambda: asyncio.run(run()))


def addresses_on_lo(netns: Path) -> list[str]:
    lines = run_in_netns(netns, ["ip", "-o", "addr", "show", "dev", "lo"]).stdout.splitlines()
    return [line.split()[3] for line in lines]


# --- the address --------------------------------------------------------------------------------------------


def test_the_address_is_added_once_and_removed(netns: Path, tmp_path: Path) -> None:
    before = addresses_on_lo(netns)
    address = LocalAddress(tmp_path / "dns" / "local-address")

    async def add() -> None:
        assert await address.ensure(DNS)
        assert not await address.ensure(DNS)

    run_inside(netns, add)
    assert sorted(addresses_on_lo(netns)) == sorted([*before, f"{DNS}/32"])

    async def remove() -> None:
        await address.remove()
        await address.remove()

    run_inside(netns, remove)
    assert addresses_on_lo(netns) == before
    assert list((tmp_path / "dns").iterdir()) == []


def test_an_address_of_ours_that_is_no_longer_wanted_goes(netns: Path, tmp_path: Path) -> None:
    async def work() -> None:
        await LocalAddress(tmp_path / "memory").ensure(DNS)
        assert await LocalAddress(tmp_path / "memory").ensure("fd00::10")

    before = addresses_on_lo(netns)
    run_inside(netns, work)
    assert sorted(addresses_on_lo(netns)) == sorted([*before, "fd00::10/128"])


def test_an_address_of_somebody_else_stays(netns: Path, tmp_path: Path) -> None:
    assert run_in_netns(netns, ["ip", "addr", "add", f"{DNS}/32", "dev", "lo"]).returncode == 0

    async def work() -> None:
        address = LocalAddress(tmp_path / "memory")
        assert not await address.ensure(DNS)
        await address.remove()

    run_inside(netns, work)
    assert f"{DNS}/32" in addresses_on_lo(netns)


def test_an_address_that_somebody_took_away_is_put_back(netns: Path, tmp_path: Path) -> None:
    async def ensure() -> None:
        assert await LocalAddress(tmp_path / "memory").ensure(DNS)

    run_inside(netns, ensure)
    assert run_in_netns(netns, ["ip", "addr", "del", f"{DNS}/32", "dev", "lo"]).returncode == 0
    run_inside(netns, ensure)
    assert f"{DNS}/32" in addresses_on_lo(netns)


def test_a_memory_that_cannot_be_written_is_one_sentence(netns: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def work() -> None:
        with pytest.raises(AgentError, match=r"cannot write .*make the directory writable"):
            await LocalAddress(tmp_path / "file" / "memory").ensure(DNS)

    before = addresses_on_lo(netns)
    run_inside(netns, work)
    assert addresses_on_lo(netns) == before


# --- the server ---------------------------------------------------------------------------------------------


async def ask(name: str, server: str = DNS) -> dnslib.DNSRecord:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((server, 53))
        await loop.sock_sendall(client, bytes(dnslib.DNSRecord.question(name).pack()))
        return dnslib.DNSRecord.parse(await loop.sock_recv(client, 4096))


async def serve_and_ask(tmp_path: Path, work: Callable[[DnsServer], Awaitable[None]]) -> None:
    settings = AgentSettings(
        node_name="n1", cluster_dns=DNS, root_dir=tmp_path, resolv_conf=tmp_path / "resolv.conf"
    )
    api = FakeApi()
    spec = {"clusterIP": "10.96.7.8", "clusterIPs": ["10.96.7.8"]}
    api.put("v1/services", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        services, slices = Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES)
        server = DnsServer(services, slices, settings)
        tasks = [asyncio.create_task(each.run()) for each in (services, slices, server)]
        try:
            await server.wait_until_listening()
            await services.wait_until_synced()
            await slices.wait_until_synced()
            await work(server)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.remove()


def test_names_are_answered_on_the_cluster_dns_address(netns: Path, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {DNS}\nnameserver 127.0.0.2\n")

    async def check(_server: DnsServer) -> None:
        ours = await ask("web.default.svc.cluster.local")
        assert [str(record.rdata) for record in ours.rr] == ["10.96.7.8"]
        other = await ask("www.example.com")
        assert [str(record.rdata) for record in other.rr] == ["192.0.2.1"]

    async def work() -> None:
        async with FakeResolver({"www.example.com": ("192.0.2.1",)}).serve("127.0.0.2", 53):
            await serve_and_ask(tmp_path, check)

    before = addresses_on_lo(netns)
    run_inside(netns, work)
    assert addresses_on_lo(netns) == before


def test_a_resolver_that_leads_back_is_found_and_left_out(
    netns: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """127.0.0.2 hands every question to the cluster DNS, which would hand it to 127.0.0.2, and so on."""
    caplog.set_level(logging.ERROR)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")

    async def check(_server: DnsServer) -> None:
        while not caplog.records:  # noqa: ASYNC110 (a log record has no event)
            await asyncio.sleep(0.01)
        assert (await ask("www.example.com")).header.rcode == dnslib.RCODE.SERVFAIL

    async def work() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Looping, local_addr=("127.0.0.2", 53))
        try:
            await serve_and_ask(tmp_path, check)
        finally:
            transport.close()

    run_inside(netns, work)
    assert "sends questions back" in caplog.text


class Looping(asyncio.DatagramProtocol):
    """A resolver whose only resolver is the cluster DNS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, _addr: object) -> None:
        self._transport.sendto(data, (DNS, 53))  # type: ignore[attr-defined]
