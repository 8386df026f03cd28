"""The whole server on loopback, fed by informers from the fake API server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dnslib
import pytest

from agent.dns.server import DnsServer
from agent.settings import AgentSettings
from kubeapi.client import Client
from kubeapi.informer import Informer
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import ENDPOINT_SLICES, SERVICES
from kubeapi.status import Reason
from tests.fakes.fake_api import FakeApi
from tests.fakes.fake_resolver import FakeResolver

WEB = "web.default.svc.cluster.local"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def endpoint_slice(service_name: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{service_name}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        "ports": None,
    }


@dataclass(frozen=True, slots=True)
class Running:
    server: DnsServer
    api: FakeApi
    resolver: FakeResolver

    @property
    def port(self) -> int:
        return self.server._listener.port

    async def ask(self, name: str, type_: str = "A", *, over_tcp: bool = False) -> dnslib.DNSRecord:
        query = dnslib.DNSRecord.question(name, type_)
        async with asyncio.timeout(10):
            packet = await (_ask_tcp if over_tcp else _ask_udp)(self.port, bytes(query.pack()))
        reply = dnslib.DNSRecord.parse(packet)
        assert reply.header.id == query.header.id
        return reply

    async def addresses(self, name: str, *, over_tcp: bool = False) -> set[str]:
        reply = await self.ask(name, over_tcp=over_tcp)
        return {str(record.rdata) for record in reply.rr if record.rtype == dnslib.QTYPE.A}


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    api, resolver = FakeApi(), FakeResolver({"www.example.com": ("192.0.2.1",)})
    api.put(
        "v1/services",
        service("web", clusterIP="10.96.7.8", clusterIPs=["10.96.7.8"], ports=[{"name": "h", "port": 80}]),
    )
    api.put("v1/services", service("db", clusterIP="None"))
    api.put("v1/services", service("out", type="ExternalName", externalName="www.example.com"))
    api.put("discovery.k8s.io/v1/endpointslices", endpoint_slice("db", "10.244.0.5", "10.244.0.6"))
    async with resolver.serve("127.0.0.2") as port, serving(api, tmp_path, monkeypatch, port) as server:
        yield Running(server, api, resolver)


@asynccontextmanager
async def serving(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolver_port: int
) -> AsyncIterator[DnsServer]:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.2\n")
    settings = AgentSettings(
        node_name="n1", cluster_dns="127.0.0.1", root_dir=tmp_path, resolv_conf=tmp_path / "resolv.conf"
    )
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        services, slices = Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES)
        server = DnsServer(services, slices, settings, port=0)
        monkeypatch.setattr(server._forwarder, "_port", resolver_port)
        tasks = [asyncio.create_task(each.run()) for each in (services, slices, server)]
        try:
            async with asyncio.timeout(10):
                await server.wait_until_listening()
                await services.wait_until_synced()
                await slices.wait_until_synced()
            yield server
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask_udp(port: int, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        await loop.sock_sendall(client, packet)
        return await loop.sock_recv(client, 4096)


async def _ask_tcp(port: int, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
        await writer.wait_closed()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 (what a server answers has no event)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("over_tcp", [False, True])
async def test_our_zone(running: Running, over_tcp: bool) -> None:
    assert await running.addresses(WEB, over_tcp=over_tcp) == {"10.96.7.8"}
    assert await running.addresses("db.default.svc.cluster.local", over_tcp=over_tcp) == {
        "10.244.0.5",
        "10.244.0.6",
    }
    assert (await running.ask("x.default.svc.cluster.local", over_tcp=over_tcp)).header.rcode == 3
    assert (await running.ask(WEB, "AAAA", over_tcp=over_tcp)).header.rcode == 0
    assert [str(each.rdata) for each in (await running.ask(f"_h._tcp.{WEB}", "SRV")).rr] == [
        f"0 100 80 {WEB}."
    ]
    assert [str(each.rdata) for each in (await running.ask("8.7.96.10.in-addr.arpa", "PTR")).rr] == [
        f"{WEB}."
    ]
    assert not [name for _, name in running.resolver.asked if name.endswith("cluster.local")]


@pytest.mark.parametrize("over_tcp", [False, True])
async def test_other_names_are_forwarded(running: Running, over_tcp: bool) -> None:
    for _ in range(3):
        assert await running.addresses("www.example.com", over_tcp=over_tcp) == {"192.0.2.1"}
    assert (await running.ask("no.example.com", over_tcp=over_tcp)).header.rcode == 3
    asked = [name for _, name in running.resolver.asked if "probe" not in name]
    assert asked == ["www.example.com", "no.example.com"]


async def test_an_external_name_is_followed(running: Running) -> None:
    reply = await running.ask("out.default.svc.cluster.local")
    assert [str(each.rdata) for each in reply.rr] == ["www.example.com.", "192.0.2.1"]


async def test_headless_addresses_take_turns(running: Running) -> None:
    firsts = {str((await running.ask("db.default.svc.cluster.local")).rr[0].rdata) for _ in range(4)}
    assert firsts == {"10.244.0.5", "10.244.0.6"}


async def test_changes_are_seen_at_once(running: Running) -> None:
    assert await running.addresses("db.default.svc.cluster.local") == {"10.244.0.5", "10.244.0.6"}
    running.api.put("discovery.k8s.io/v1/endpointslices", endpoint_slice("db", "10.244.0.9"))

    async def is_replaced() -> bool:
        return await running.addresses("db.default.svc.cluster.local") == {"10.244.0.9"}

    await until(is_replaced)
    running.api.remove("v1/services", "web", "default")

    async def is_gone() -> bool:
        return bool((await running.ask(WEB)).header.rcode == 3)

    await until(is_gone)


async def test_packets_that_are_no_queries(running: Running) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", running.port))
        for packet in (b"", b"x", bytes(12), bytes(range(60))):
            await loop.sock_sendall(client, packet)
    assert await running.addresses(WEB) == {"10.96.7.8"}


async def test_a_connection_may_ask_many_questions_and_end_in_the_middle(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    packet = bytes(dnslib.DNSRecord.question(WEB).pack())
    for _ in range(3):
        writer.write(len(packet).to_bytes(2, "big") + packet)
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        assert str(dnslib.DNSRecord.parse(answer).rr[0].rdata) == "10.96.7.8"
    writer.write(b"\x00\x20half")
    writer.close()
    await writer.wait_closed()
    assert await running.addresses(WEB) == {"10.96.7.8"}


async def test_a_resolver_that_asks_us_back_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    api = FakeApi()
    async with serving(api, tmp_path, monkeypatch, resolver_port=1) as server:
        running = Running(server, api, FakeResolver())
        ((_, name),) = server._resolvers.probes()
        assert (await running.ask(name, "HINFO")).header.rcode == 3
        assert server._resolvers.in_order(0.0) == ()
        assert (await running.ask("www.example.com")).header.rcode == 2
    assert "A resolver sends questions back" in caplog.text


async def test_until_the_informers_are_in_nothing_is_missing(tmp_path: Path) -> None:
    api = FakeApi()
    api.fail_next(Reason.SERVICE_UNAVAILABLE, 503, times=10**6)
    settings = AgentSettings(
        node_name="n1", cluster_dns="127.0.0.1", root_dir=tmp_path, resolv_conf=tmp_path / "none"
    )
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        server = DnsServer(Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES), settings, port=0)
        task = asyncio.create_task(server.run())
        await server.wait_until_listening()
        reply = await Running(server, api, FakeResolver()).ask(WEB)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert reply.header.rcode == 2


async def test_a_port_that_is_taken_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = AgentSettings(
            node_name="n1", cluster_dns="127.0.0.1", root_dir=tmp_path, resolv_conf=tmp_path / "none"
        )
        api = FakeApi()
        async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
            server = DnsServer(
                Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES), settings, port=port
            )
            task = asyncio.create_task(server.run())

            async def is_said() -> bool:
                return bool(caplog.records)

            await until(is_said)
            taken.close()
            async with asyncio.timeout(10):
                await server.wait_until_listening()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    error = caplog.records[0].__dict__["error"]
    assert (
        f"cannot listen for DNS on 127.0.0.1 port {port}: Address already in use; stop the program" in error
    )
