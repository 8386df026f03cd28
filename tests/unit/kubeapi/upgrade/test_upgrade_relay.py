"""Relayed upgrades over real sockets, plain and TLS on either side: bytes, ends, pressure, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from kubeapi.upgrade.backend import UpgradeTarget, open_backend, read_refusal
from kubeapi.upgrade.messages import UpgradeFailed
from kubeapi.upgrade.relay import Relay, UpgradeRelays
from tests.unit.kubeapi.conftest import Pki

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_SIZE = 16 * 1024 * 1024
_PIECE = 64 * 1024
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
_SPDY_HEADERS = b"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
_WEBSOCKET_HEADERS = (
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_REQUEST_HEADERS = b"Host: node\r\nConnection: Upgrade\r\nAuthorization: Bearer hush\r\n"
_SPDY_POST = b"POST /stream HTTP/1.1\r\n" + _REQUEST_HEADERS + _SPDY_HEADERS + b"Content-Length: 0\r\n\r\n"
_SPDY_GET = b"GET /stream HTTP/1.1\r\n" + _REQUEST_HEADERS + _SPDY_HEADERS + b"\r\n"
_WEBSOCKET = b"GET /stream HTTP/1.1\r\n" + _REQUEST_HEADERS + _WEBSOCKET_HEADERS + b"\r\n"


@dataclass(slots=True)
class Ends:
    """TLS of the client's side and of the backend's, for both of their peers; None is plain TCP."""

    front: ssl.SSLContext | None = None
    back: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    relays: UpgradeRelays = field(default_factory=UpgradeRelays)
    target: UpgradeTarget = field(default_factory=lambda: UpgradeTarget("127.0.0.1", 1, "/"))
    port: int = 0


@pytest.fixture(params=["plain to plain", "TLS to plain", "plain to TLS", "TLS to TLS"])
def ends(request: pytest.FixtureRequest, pki: Pki, tmp_path: Path) -> Ends:
    server = pki.server_context(tmp_path)
    client = ssl.create_default_context(cadata=pki.ca.decode())
    front, _, back = request.param.partition(" to ")
    return Ends(server if front == "TLS" else None, server if back == "TLS" else None, client)


@pytest.fixture
def plain() -> Ends:
    return Ends()


@asynccontextmanager
async def _relaying(ends: Ends, serve: Serve) -> AsyncIterator[None]:
    """A backend that does as the test says, and an aiohttp server that relays all requests to it."""

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await ends.relays.answer(request, ends.target)
        except UpgradeFailed as error:
            return web.Response(status=502, text=str(error))

    application = web.Application()
    application.router.add_route("*", "/stream", answer)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    backend = await asyncio.start_server(serve_and_close, "127.0.0.1", 0, ssl=ends.back)
    trusted = ends.client if ends.back is not None else None
    ends.target = UpgradeTarget("127.0.0.1", backend.sockets[0].getsockname()[1], "/exec/TOKEN?x=1", trusted)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ends.front).start()
    ends.port = runner.addresses[0][1]
    try:
        async with asyncio.timeout(90):
            yield
    finally:
        backend.close()
        await runner.cleanup()


@asynccontextmanager
async def _connected(ends: Ends) -> AsyncIterator[Streams]:
    tls = ends.client if ends.front is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", ends.port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def _switch(streams: Streams, request: bytes = _SPDY_POST) -> None:
    streams[1].write(request)
    assert await streams[0].readuntil(b"\r\n\r\n") == _SWITCH


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    for start in range(0, len(content), _PIECE):
        writer.write(content[start : start + _PIECE])
        await writer.drain()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- bytes --------------------------------------------------------------------------------------------------


async def test_sixteen_mebibytes_arrive_intact_each_way(ends: Ends) -> None:
    up, down = os.urandom(_SIZE), os.urandom(_SIZE)
    arrived: list[str] = []
    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # Bytes right behind the head belong to the stream already.
        writer.write(_SWITCH + down[:1000])
        content, _ = await asyncio.gather(reader.readexactly(_SIZE), _send(writer, down[1000:]))
        arrived.append(_digest(content))
        finished.set()
        await reader.read()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer))
        content, _ = await asyncio.gather(reader.readexactly(_SIZE), _send(writer, up))
        await finished.wait()
    assert _digest(content) == _digest(down)
    assert arrived == [_digest(up)]


@pytest.mark.parametrize("request_head", [_SPDY_POST, _SPDY_GET, _WEBSOCKET])
async def test_any_upgrade_is_asked_for_as_the_client_does(ends: Ends, request_head: bytes) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(_SWITCH)
        writer.write(b"got " + await reader.readexactly(5))
        await reader.read()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer), request_head)
        writer.write(b"hello")
        assert await reader.readexactly(9) == b"got hello"
    method = request_head.partition(b" ")[0]
    assert heads[0].startswith(method + b" /exec/TOKEN?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nUpgrade: " in heads[0]
    assert b"hush" not in heads[0]


async def test_bytes_before_the_101_reach_the_backend(ends: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        writer.write(b"got " + await reader.readexactly(5))
        await reader.read()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        writer.write(_WEBSOCKET + b"early")
        assert await reader.readuntil(b"\r\n\r\n") == _SWITCH
        assert await reader.readexactly(9) == b"got early"


# --- pressure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["client", "backend"])
async def test_a_slow_reader_makes_the_other_side_wait(ends: Ends, slow: str) -> None:
    content = os.urandom(2 * _SIZE)
    sent = 0
    may_read, arrived = asyncio.Event(), asyncio.Event()
    read: list[bytes] = []

    async def send(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for start in range(0, len(content), _PIECE):
            writer.write(content[start : start + _PIECE])
            await writer.drain()
            sent += _PIECE

    async def receive(reader: asyncio.StreamReader) -> None:
        await may_read.wait()
        read.append(await reader.readexactly(len(content)))
        arrived.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        await (receive(reader) if slow == "backend" else send(writer))
        await reader.read()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receive(reader) if slow == "client" else send(writer))
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < len(content) // 2
            may_read.set()
            await arrived.wait()
    assert _digest(read[0]) == _digest(content)


async def test_a_backend_that_takes_no_last_bytes_is_cut() -> None:
    """A command that never reads its input must not keep the connection for ever."""
    loop = asyncio.get_running_loop()
    kubectl, client = await _socket_and_transport()
    runtime, backend = await _socket_and_transport()
    relay = Relay(client, backend, last_bytes_seconds=0.05)
    async with asyncio.timeout(10):
        running = asyncio.create_task(relay.run(to_backend=bytes(_SIZE)))
        await asyncio.sleep(0)
        client.abort()
        await running
        taken = 0
        while piece := await loop.sock_recv(runtime, _PIECE):
            taken += len(piece)
    kubectl.close()
    runtime.close()
    assert 0 < taken < _SIZE


async def test_a_backend_that_outlives_its_matter_is_left() -> None:
    """containerd keeps a stream open for ever that was attached while its container exited."""
    loop = asyncio.get_running_loop()
    kubectl, client = await _socket_and_transport()
    runtime, backend = await _socket_and_transport()
    exited: asyncio.Future[None] = loop.create_future()
    relay = Relay(client, backend, ended_seconds=0.05)
    async with asyncio.timeout(10):
        running = asyncio.create_task(relay.run(to_client=b"hi", until=exited))
        assert await loop.sock_recv(kubectl, 10) == b"hi"
        assert not running.done()
        exited.set_result(None)
        await loop.sock_sendall(runtime, b" and bye")
        assert await loop.sock_recv(kubectl, 10) == b" and bye"
        await running
        assert await loop.sock_recv(kubectl, 10) == await loop.sock_recv(runtime, 10) == b""
    kubectl.close()
    runtime.close()


async def _socket_and_transport() -> tuple[socket.socket, asyncio.Transport]:
    """Two ends of one connection; the second is not reading yet."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=theirs)
    transport.pause_reading()
    return ours, transport


# --- ends ---------------------------------------------------------------------------------------------------


async def test_the_end_of_one_direction_leaves_the_other_open(plain: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        everything = await reader.read()
        writer.write(b"got " + everything)
        await writer.drain()

    async with _relaying(plain, serve), _connected(plain) as (reader, writer):
        await _switch((reader, writer))
        writer.write(b"all of it")
        writer.write_eof()
        assert await reader.read() == b"got all of it"


async def test_the_backends_end_comes_after_its_last_bytes(ends: Ends) -> None:
    content = os.urandom(1024 * 1024)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        await _send(writer, content)

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer))
        assert _digest(await reader.read()) == _digest(content)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_goes_away_ends_the_backends_stream(ends: Ends, how: str) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        with suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with _relaying(ends, serve):
        async with _connected(ends) as (reader, writer):
            await _switch((reader, writer))
            if how == "abort":
                writer.transport.abort()
        await ended.wait()


async def test_a_backend_that_is_cut_ends_the_clients_stream(ends: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        await reader.readexactly(1)
        writer.transport.abort()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer))
        writer.write(b"x")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_a_server_that_stops_cuts_its_relays(ends: Ends) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        with suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        await _switch((reader, writer))
        ends.relays.abort()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        await ended.wait()


async def test_a_client_that_leaves_before_the_answer_ends_the_request(ends: Ends) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        with suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with _relaying(ends, serve):
        async with _connected(ends) as (_, writer):
            writer.write(_SPDY_POST)
            await asked.wait()
        await ended.wait()


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 12\r\n\r\nbad protocol",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nbad \r\n8\r\nprotocol\r\n0\r\n\r\n",
    ],
)
async def test_a_refusal_is_passed_on_with_its_body(ends: Ends, framing: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/x-refusal\r\n" + framing)
        await reader.read()  # the connection stays: the framing alone ends the answer

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        writer.write(_SPDY_POST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert b"\r\nContent-Type: text/x-refusal\r\n" in head
        assert await reader.readexactly(12) == b"bad protocol"


async def test_a_refusal_that_ends_with_its_connection(plain: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 404 Not Found\r\n\r\nno ")
        await writer.drain()
        writer.write(b"container")

    async with _relaying(plain, serve):
        backend = await open_backend(plain.target, b"GET / HTTP/1.1\r\n\r\n")
        assert backend.head.status == 404
        assert await read_refusal(backend) == b"no container"


async def test_a_refusal_is_waited_for_only_so_long(plain: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nbeginning")
        await reader.read()

    async with _relaying(plain, serve):
        backend = await open_backend(plain.target, b"GET / HTTP/1.1\r\n\r\n")
        assert await read_refusal(backend, deadline_seconds=0.1) == b"beginning"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", b"it closed the connection without an answer"),
        (b"SSH-2.0\r\n\r\n", b"its answer is not HTTP"),
        (b"HTTP/1.1 101", b"it closed the connection without an answer"),
    ],
)
async def test_a_backend_that_speaks_no_http(ends: Ends, answer: bytes, why: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with _relaying(ends, serve), _connected(ends) as (reader, writer):
        writer.write(_SPDY_POST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        assert await reader.readexactly(len(why)) == why


async def test_a_backend_that_does_not_answer(plain: Ends) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with _relaying(plain, serve):
        with pytest.raises(UpgradeFailed, match=r"gave no answer in 0\.1 s"):
            await open_backend(plain.target, b"GET / HTTP/1.1\r\n\r\n", deadline_seconds=0.1)


async def test_a_backend_that_is_not_there() -> None:
    with pytest.raises(UpgradeFailed, match=r"[Cc]onnect"):
        await open_backend(UpgradeTarget("127.0.0.1", 1, "/"), b"GET / HTTP/1.1\r\n\r\n")


def test_the_authority_of_a_target() -> None:
    assert UpgradeTarget("192.0.2.1", 10250, "/").authority == "192.0.2.1:10250"
    assert UpgradeTarget("2001:db8::1", 10250, "/").authority == "[2001:db8::1]:10250"
