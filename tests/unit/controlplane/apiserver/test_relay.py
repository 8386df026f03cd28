"""The relay of upgraded connections between a client and a node: bytes, ends, back-pressure, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from controlplane.apiserver.kubelet import NodeAddress, build_upgrade_head
from controlplane.apiserver.relay import Relay, RelayError, open_backend, parse_header, read_error_body

SIZE = 16 * 1024 * 1024
PIECE = 64 * 1024
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n"


class StandIn:
    """A node's streaming server: answers an upgrade, sends its bytes, hashes what it gets."""

    def __init__(
        self, sends: bytes, head: bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n"
    ) -> None:
        self._sends = sends
        self._head = head
        self.request_head = b""
        self.received = hashlib.sha256()
        self.received_bytes = 0
        self.finished = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.request_head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._head)
            await asyncio.gather(self._send(writer), self._receive(reader))
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.finished.set()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(self._sends), PIECE):
            writer.write(self._sends[start : start + PIECE])
            await writer.drain()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while self.received_bytes < SIZE and (piece := await reader.read(PIECE)):
            self.received.update(piece)
            self.received_bytes += len(piece)


@asynccontextmanager
async def running(stand_in: StandIn) -> AsyncIterator[int]:
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def relaying_server(backend_port: int) -> AsyncIterator[int]:
    """An aiohttp server that hands each connection to the relay, as `node_requests` does."""

    async def handle(request: web.Request) -> web.StreamResponse:
        address = NodeAddress("127.0.0.1", backend_port)
        head = build_upgrade_head("POST", "/exec/ns/pod/c", address, request.headers.items())
        backend = await open_backend(address.host, address.port, head, tls=None, deadline_seconds=5)
        protocol, transport = request.protocol, request.transport
        assert transport is not None
        await Relay(transport, backend).run(protocol._message_tail)
        protocol.connection_lost(None)
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def connect(
    port: int, upgrade: str = "SPDY/3.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        "Authorization: Bearer hush\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def test_sixteen_mebibytes_arrive_intact_each_way() -> None:
    downwards, upwards = os.urandom(SIZE), os.urandom(SIZE)
    stand_in = StandIn(downwards)
    async with asyncio.timeout(60), running(stand_in) as backend_port, relaying_server(backend_port) as port:
        reader, writer, head = await connect(port)
        assert head.startswith(b"HTTP/1.1 101")

        async def send() -> None:
            for start in range(0, SIZE, PIECE):
                writer.write(upwards[start : start + PIECE])
                await writer.drain()

        received, _ = await asyncio.gather(reader.readexactly(SIZE), send())
        await stand_in.finished.wait()
        assert await reader.read() == b""
        writer.close()
    assert hashlib.sha256(received).digest() == hashlib.sha256(downwards).digest()
    assert stand_in.received.digest() == hashlib.sha256(upwards).digest()


async def test_the_node_sees_the_upgrade_but_not_the_credentials() -> None:
    stand_in = StandIn(b"")
    async with asyncio.timeout(10), running(stand_in) as backend_port, relaying_server(backend_port) as port:
        _, writer, _ = await connect(port)
        writer.close()
        await stand_in.finished.wait()
    assert b"Upgrade: SPDY/3.1" in stand_in.request_head
    assert b"X-Stream-Protocol-Version: v4.channel.k8s.io" in stand_in.request_head
    assert f"Host: 127.0.0.1:{backend_port}".encode() in stand_in.request_head
    assert b"hush" not in stand_in.request_head


async def test_end_of_file_is_passed_on_while_the_other_way_stays_open() -> None:
    class Answering(StandIn):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            asked = await reader.read()
            writer.write(b"you said " + asked)
            writer.close()

    async with (
        asyncio.timeout(10),
        running(Answering(b"")) as backend_port,
        relaying_server(backend_port) as port,
    ):
        reader, writer, _ = await connect(port)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"you said hello"
        writer.close()


async def test_a_slow_reader_stops_the_sender() -> None:
    sent = 0

    class Counting(StandIn):
        async def _send(self, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            for start in range(0, len(self._sends), PIECE):
                writer.write(self._sends[start : start + PIECE])
                await writer.drain()
                sent += PIECE

    stand_in = Counting(os.urandom(SIZE))
    async with asyncio.timeout(30), running(stand_in) as backend_port, relaying_server(backend_port) as port:
        reader, writer, _ = await connect(port)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < SIZE
        await reader.readexactly(SIZE)
        writer.close()
        await stand_in.finished.wait()


@pytest.mark.parametrize("end", ["client", "node"])
async def test_either_end_cut_closes_the_other(end: str) -> None:
    class Holding(StandIn):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            if end == "node":
                writer.transport.abort()
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            self.finished.set()

    stand_in = Holding(b"")
    async with asyncio.timeout(10), running(stand_in) as backend_port, relaying_server(backend_port) as port:
        reader, writer, _ = await connect(port)
        if end == "client":
            writer.transport.abort()
            await stand_in.finished.wait()
        else:
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nno\r\n2\r\npe\r\n0\r\n\r\n",
    ],
)
async def test_a_refusal_to_upgrade_is_read(answer: bytes) -> None:
    async with asyncio.timeout(10), running(StandIn(b"", answer)) as port:
        backend = await open_backend(
            "127.0.0.1", port, b"GET / HTTP/1.1\r\n\r\n", tls=None, deadline_seconds=5
        )
        assert backend.status == 403
        assert not backend.is_upgraded
        assert parse_header(backend.head, "Content-Type") == "text/plain"
        assert await read_error_body(backend, 5) == b"nope"


async def test_an_answer_that_is_no_http_is_refused() -> None:
    async with asyncio.timeout(10), running(StandIn(b"", b"SSH-2.0-x\r\n\r\n")) as port:
        with pytest.raises(RelayError, match="not HTTP"):
            await open_backend("127.0.0.1", port, b"GET / HTTP/1.1\r\n\r\n", tls=None, deadline_seconds=5)


async def test_a_connection_without_answer_is_refused() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    async with asyncio.timeout(10), server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RelayError, match="without an answer"):
            await open_backend("127.0.0.1", port, b"GET / HTTP/1.1\r\n\r\n", tls=None, deadline_seconds=5)
