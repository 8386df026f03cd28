"""Logs and upgraded connections through a whole API server on uvloop, TLS to client and stand-in node."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop
from aiohttp import web

from tests.unit.controlplane.apiserver.api_harness import Api, Document, build_pod, running_api

SIZE = 16 * 1024 * 1024
PIECE = 64 * 1024
PODS = "/api/v1/namespaces/default/pods"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run_with_api(directory: Path, scenario: Callable[[Api], Awaitable[None]]) -> None:
    """On uvloop, as in production: its TLS transports differ from asyncio's."""

    async def run() -> None:
        async with asyncio.timeout(60), running_api(directory) as api:
            await scenario(api)

    uvloop.run(run())


def build_node(port: int) -> Document:
    return {
        "metadata": {"name": "n1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }


async def create_pod_on_node(api: Api, port: int) -> None:
    await api.create("/api/v1/nodes", build_node(port))
    await api.create(PODS, build_pod("p", node="n1"))


def build_node_tls(directory: Path) -> ssl.SSLContext:
    """The stand-in's certificate, which nobody has to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pki" / "apiserver.crt", directory / "pki" / "apiserver.key")
    context.load_verify_locations(directory / "pki" / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def running_node(
    directory: Path, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[int]:
    """A node that answers plain requests, over TLS, to clients with our authority's certificate."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=build_node_tls(directory)).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_stream_node(
    directory: Path, serve: Callable[[bytes, Connection], Awaitable[None]]
) -> AsyncIterator[int]:
    """A node that switches protocols: `serve` gets the request's head and the connection."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(head, (reader, writer))
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=build_node_tls(directory))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def open_stream(api: Api, method: str, target: str, upgrade: str) -> tuple[bytes, Connection]:
    """An upgrade request as kubectl makes it; returns the answer's head and the connection."""
    url = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=api.build_tls("admin"))
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
    )
    if upgrade == "websocket":
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    else:
        head += "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n"
    writer.write(f"{head}\r\n".encode())
    return await reader.readuntil(b"\r\n\r\n"), (reader, writer)


@pytest.mark.parametrize(
    ("method", "upgrade"), [("POST", "SPDY/3.1"), ("GET", "SPDY/3.1"), ("GET", "websocket")]
)
def test_an_upgraded_exec_carries_every_byte_both_ways(tmp_path: Path, method: str, upgrade: str) -> None:
    downwards, upwards = os.urandom(SIZE), os.urandom(SIZE)
    received = hashlib.sha256()
    heads: list[bytes] = []

    async def serve(head: bytes, connection: Connection) -> None:
        heads.append(head)
        reader, writer = connection
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\n\r\n".encode())

        async def send() -> None:
            for start in range(0, SIZE, PIECE):
                writer.write(downwards[start : start + PIECE])
                await writer.drain()

        async def receive() -> None:
            left = SIZE
            while left:
                piece = await reader.read(min(PIECE, left))
                assert piece
                received.update(piece)
                left -= len(piece)

        await asyncio.gather(send(), receive())

    async def scenario(api: Api) -> None:
        async with running_stream_node(tmp_path, serve) as port:
            await create_pod_on_node(api, port)
            target = f"{PODS}/p/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true&stderr=1"
            head, (reader, writer) = await open_stream(api, method, target, upgrade)
            assert head.startswith(b"HTTP/1.1 101 ")

            async def send() -> None:
                for start in range(0, SIZE, PIECE):
                    writer.write(upwards[start : start + PIECE])
                    await writer.drain()

            got, _ = await asyncio.gather(reader.readexactly(SIZE), send())
            assert hashlib.sha256(got).digest() == hashlib.sha256(downwards).digest()
            assert await reader.read() == b""
            writer.close()

    run_with_api(tmp_path, scenario)
    assert received.digest() == hashlib.sha256(upwards).digest()
    line = heads[0].partition(b"\r\n")[0].decode()
    options = "command=sh&command=-c&command=a+b&input=1&output=1&error=1"
    assert line == f"{method} /exec/default/p/main?{options} HTTP/1.1"


def test_port_forward_names_the_pod_alone(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def serve(head: bytes, connection: Connection) -> None:
        heads.append(head)
        reader, writer = connection
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n")
        writer.write(await reader.readexactly(5))

    async def scenario(api: Api) -> None:
        async with running_stream_node(tmp_path, serve) as port:
            await create_pod_on_node(api, port)
            _, (reader, writer) = await open_stream(api, "POST", f"{PODS}/p/portforward", "SPDY/3.1")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    run_with_api(tmp_path, scenario)
    assert heads[0].startswith(b"POST /portForward/default/p HTTP/1.1\r\n")


def test_a_node_that_refuses_is_quoted(tmp_path: Path) -> None:
    async def serve(_: bytes, connection: Connection) -> None:
        connection[1].write(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nno container"
        )
        await connection[1].drain()
        await connection[0].read()

    async def scenario(api: Api) -> None:
        async with running_stream_node(tmp_path, serve) as port:
            await create_pod_on_node(api, port)
            target = f"{PODS}/p/attach?stdout=true"
            head, (reader, writer) = await open_stream(api, "POST", target, "SPDY/3.1")
            assert head.startswith(b"HTTP/1.1 404 ")
            assert await reader.readexactly(12) == b"no container"
            writer.close()

    run_with_api(tmp_path, scenario)


def test_a_log_is_streamed_as_it_comes(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    targets: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        targets.append(request.path_qs)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"first\n")
        await go_on.wait()
        await response.write(b"second\n")
        return response

    async def scenario(api: Api) -> None:
        async with running_node(tmp_path, handle) as port, api.session() as session:
            await create_pod_on_node(api, port)
            async with session.get(f"{PODS}/p/log?follow=true&tailLines=5&timestamps=true") as response:
                assert await response.content.readline() == b"first\n"
                go_on.set()
                assert await response.content.read() == b"second\n"

    run_with_api(tmp_path, scenario)
    assert targets == ["/containerLogs/default/p/main?follow=true&timestamps=true&tailLines=5"]


def test_a_client_that_leaves_ends_the_log_at_the_node(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return response

    async def scenario(api: Api) -> None:
        async with running_node(tmp_path, handle) as port:
            await create_pod_on_node(api, port)
            async with api.session() as session, session.get(f"{PODS}/p/log?follow=true") as response:
                await response.content.readline()
                response.close()
            await ended.wait()

    run_with_api(tmp_path, scenario)


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (400, "BadRequest", "no previous one"),
        (404, "NotFound", "no previous one"),
        (500, "InternalError", "Internal error occurred: no previous one"),
        (503, "", "no previous one"),
    ],
)
def test_what_a_node_says_against_a_log_reaches_the_client(
    tmp_path: Path, code: int, reason: str, message: str
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text="no previous one\n")

    async def scenario(api: Api) -> None:
        async with running_node(tmp_path, handle) as port:
            await create_pod_on_node(api, port)
            refused = await api.get(f"{PODS}/p/log?previous=true")
            assert (refused.status, refused.reason, refused.message) == (code, reason, message)

    run_with_api(tmp_path, scenario)


def test_refusals_before_any_node_is_asked(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.create("/api/v1/nodes", build_node(1))
        await api.create(PODS, build_pod("unbound"))
        two = build_pod("two", node="n1")
        two["spec"]["containers"].append({"name": "other", "image": "x"})
        await api.create(PODS, two)
        assert (await api.get(f"{PODS}/none/log")).status == 404
        empty = await api.get(f"{PODS}/unbound/log")
        assert (empty.status, empty.body) == (200, b"")
        unclear = await api.get(f"{PODS}/two/log")
        assert (
            unclear.message == "a container name must be specified for pod two, choose one of: [main other]"
        )
        unknown = await api.get(f"{PODS}/two/log?container=x")
        assert unknown.message == "container x is not valid for pod two"
        unreachable = await api.get(f"{PODS}/two/log?container=main")
        assert unreachable.status == 500
        assert "error dialing node at 127.0.0.1:1" in unreachable.message
        target = f"{PODS}/two/exec?container=main&command=x&stdout=1"
        head, (reader, writer) = await open_stream(api, "POST", target, "SPDY/3.1")
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"error dialing node at 127.0.0.1:1: " in await reader.readuntil(b"code")
        writer.close()
        plain = await api.call("POST", f"{PODS}/two/exec?container=main&command=x&stdout=1")
        assert (plain.status, plain.message) == (400, "Upgrade request required")
        head, (_, writer) = await open_stream(
            api, "POST", f"{PODS}/unbound/exec?command=x&stdout=1", "SPDY/3.1"
        )
        assert head.startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await api.get(f"{PODS}/two/log", user="n1")).status == 403

    run_with_api(tmp_path, scenario)
