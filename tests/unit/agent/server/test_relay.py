"""The relay of upgraded connections over real sockets: bytes, ends, pressure, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from agent.server.listeners import listen
from agent.server.relay import RelayFailed, build_upgrade_request, parse_upgrade_answer, relay_upgrade
from agent.server.selfsigned import ensure_pair

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
_REQUEST = (
    b"POST /stream HTTP/1.1\r\nHost: node\r\n"
    b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\nAuthorization: Bearer secret\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@asynccontextmanager
async def _backend(serve: Serve) -> AsyncIterator[str]:
    """A streaming server: reads the head of the request, then does as the test says."""

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/exec/TOKEN?x=1"


@asynccontextmanager
async def _front(url: str, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await relay_upgrade(request, url)
        except RelayFailed as error:
            return web.Response(status=502, text=str(error))

    application = web.Application()
    application.router.add_route("*", "/stream", serve)
    async with listen(application, "127.0.0.1", 0, tls) as port:
        yield port


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> ssl.SSLContext | None:
    if request.param == "plain":
        return None
    ensure_pair(tmp_path, "node-1", "127.0.0.1", datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "kubelet.crt", tmp_path / "kubelet.key")
    return context


@asynccontextmanager
async def _client(port: int, tls: ssl.SSLContext | None) -> AsyncIterator[Streams]:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()


async def test_relays_megabytes_both_ways(tls: ssl.SSLContext | None) -> None:
    size = 8 * 1024 * 1024
    up, down = os.urandom(size), os.urandom(size)
    heads: list[bytes] = []
    received: list[str] = []
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        # Bytes right behind the head belong to the stream already.
        writer.write(_SWITCH + down[:1000])

        async def send() -> None:
            writer.write(down[1000:])
            await writer.drain()

        sending = asyncio.create_task(send())
        received.append(hashlib.sha256(await reader.readexactly(size)).hexdigest())
        arrived.set()
        await sending
        await reader.read()

    async with _backend(serve) as url, _front(url, tls) as port, _client(port, tls) as (reader, writer):
        writer.write(_REQUEST)
        assert await reader.readuntil(b"\r\n\r\n") == _SWITCH
        writer.write(up)
        assert await reader.readexactly(size) == down
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await arrived.wait()
    assert received == [hashlib.sha256(up).hexdigest()]
    assert heads[0].startswith(b"POST /exec/TOKEN?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Stream-Protocol-Version: v4.channel.k8s.io" in heads[0]
    assert b"secret" not in heads[0]


async def test_the_end_of_one_direction_leaves_the_other_open() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        everything = await reader.read()
        writer.write(b"got " + everything)
        await writer.drain()

    async with _backend(serve) as url, _front(url, None) as port, _client(port, None) as (reader, writer):
        writer.write(_REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"all of it")
        writer.write_eof()
        assert await reader.read() == b"got all of it"


async def test_the_backends_end_reaches_the_client(tls: ssl.SSLContext | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH + b"last words")
        await writer.drain()

    async with _backend(serve) as url, _front(url, tls) as port, _client(port, tls) as (reader, writer):
        writer.write(_REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"last words"


async def test_a_client_that_goes_away_ends_the_backends_stream(tls: ssl.SSLContext | None) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        await reader.read()
        ended.set()

    async with _backend(serve) as url, _front(url, tls) as port:
        async with _client(port, tls) as (reader, writer):
            writer.write(_REQUEST)
            await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_client_that_does_not_read_makes_the_backend_wait() -> None:
    sent = 0
    blocked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        block = b"x" * 65536
        for _ in range(4096):  # 256 MiB, if nobody held it back
            writer.write(block)
            sent += len(block)
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                blocked.set()
                return

    async with _backend(serve) as url, _front(url, None) as port, _client(port, None) as (reader, writer):
        writer.write(_REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        await blocked.wait()
    assert sent < 64 * 1024 * 1024


async def test_a_refusal_is_passed_on() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\nbad protocol")
        await reader.read()  # keeps the connection: the length alone ends the answer

    async with _backend(serve) as url, _front(url, None) as port, _client(port, None) as (reader, writer):
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert await reader.readexactly(12) == b"bad protocol"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 101"])
async def test_a_backend_that_speaks_no_http_is_a_bad_gateway(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with _backend(serve) as url, _front(url, None) as port, _client(port, None) as (reader, writer):
        writer.write(_REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/exec", "https://127.0.0.1:1/exec"])
async def test_an_absent_backend_is_a_bad_gateway(url: str) -> None:
    async with _front(url, None) as port, _client(port, None) as (reader, writer):
        writer.write(_REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


def test_the_request_to_the_backend() -> None:
    head = build_upgrade_request("http://127.0.0.1:9/", "GET", [("Upgrade", "websocket"), ("Host", "other")])
    assert head == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9\r\nUpgrade: websocket\r\n\r\n"


def test_an_answer_is_complete_with_its_body() -> None:
    head = b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\n"
    assert parse_upgrade_answer(head[:20], ended=False) is None
    assert parse_upgrade_answer(head + b"abc", ended=False) is None
    answer = parse_upgrade_answer(head + b"abcd", ended=False)
    assert answer is not None
    assert (answer.status, answer.rest) == (500, b"abcd")
    with pytest.raises(RelayFailed):
        parse_upgrade_answer(b"x" * 70_000, ended=False)
