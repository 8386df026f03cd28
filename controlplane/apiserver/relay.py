"""Relays an upgraded connection byte for byte between a client and a node, whatever protocol it now speaks.

IO on two transports. Used for exec, attach and port-forward, over SPDY/3.1 as over WebSocket: nothing is
parsed after the backend's response head. A slow reader stops the other side's reading (back-pressure); an
end of file is passed on where the transport can half-close, and otherwise closes the other side after its
last byte.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final, cast

MAXIMUM_HEAD_BYTES: Final = 64 * 1024
MAXIMUM_ERROR_BODY_BYTES: Final = 64 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"


class RelayError(Exception):
    """The backend did not answer an upgrade request with HTTP."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An answered upgrade request: the raw response head, and what followed it. Reading is paused."""

    status: int
    head: bytes = field(repr=False)
    rest: bytes = field(repr=False)
    transport: asyncio.Transport

    @property
    def is_upgraded(self) -> bool:
        return self.status == 101


async def open_backend(
    host: str, port: int, request_head: bytes, *, tls: ssl.SSLContext | None, deadline_seconds: float
) -> Backend:
    """Connect, send an upgrade request, and read the answer's head.

    OSError if it cannot be reached, TimeoutError past the deadline, RelayError if the answer is not HTTP.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline_seconds):
        transport, reader = await loop.create_connection(_HeadReader, host, port, ssl=tls)
        try:
            transport.write(request_head)
            head, rest = await reader.head
        except BaseException:
            transport.abort()
            raise
    return Backend(_parse_status(head, transport), head, rest, transport)


async def read_error_body(backend: Backend, deadline_seconds: float) -> bytes:
    """What a backend that refused to upgrade says; closes the connection. Cut at MAXIMUM_ERROR_BODY_BYTES."""
    reader = _BodyReader(backend.head, backend.rest)
    backend.transport.set_protocol(reader)
    backend.transport.resume_reading()
    try:
        async with asyncio.timeout(deadline_seconds):
            await reader.done
    except TimeoutError:
        pass
    finally:
        backend.transport.abort()
    return reader.body()


class Relay:
    """Two transports joined; make it, then `await run()`."""

    def __init__(self, client: asyncio.Transport, backend: Backend) -> None:
        self._backend = backend
        self._client_side = _Side(client)
        self._backend_side = _Side(backend.transport)
        self._client_side.peer = self._backend_side
        self._backend_side.peer = self._client_side

    async def run(self, early_bytes: bytes = b"") -> None:
        """Until both sides are closed; `early_bytes` came from the client before the answer did."""
        client, backend = self._client_side.transport, self._backend_side.transport
        client.set_protocol(self._client_side)
        backend.set_protocol(self._backend_side)
        client.write(self._backend.head + self._backend.rest)
        if early_bytes:
            backend.write(early_bytes)
        _resume(client)
        _resume(backend)
        if client.is_closing():
            backend.close()
        try:
            await asyncio.wait((self._client_side.closed, self._backend_side.closed))
        finally:
            self.abort()

    def abort(self) -> None:
        """Cut both sides at once."""
        self._client_side.transport.abort()
        self._backend_side.transport.abort()


class _Side(asyncio.Protocol):
    """One end of a relay: what arrives here leaves at the peer."""

    peer: _Side

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ended = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        _resume(self.peer.transport)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.peer.transport
        if self.peer.ended or not other.can_write_eof():
            other.close()
            return False
        other.write_eof()
        # TLS transports close on end of file whatever is returned, and complain about True.
        return self.transport.can_write_eof()

    def connection_lost(self, _error: Exception | None) -> None:
        self.peer.transport.close()
        if not self.closed.done():
            self.closed.set_result(None)


class _HeadReader(asyncio.Protocol):
    """Collects a response head, then stops reading so that nothing is lost to the next protocol."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.head: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transports behave as asyncio.Transport without being subclasses of it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(_END_OF_HEAD)
        if self.head.done():
            return
        if end:
            assert self._transport is not None
            self._transport.pause_reading()
            self.head.set_result((head + end, rest))
        elif len(self._buffer) > MAXIMUM_HEAD_BYTES:
            self.head.set_exception(RelayError("the node's answer has a head without end"))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(error or RelayError("the node closed the connection without an answer"))


class _BodyReader(asyncio.Protocol):
    """Collects a short body, delimited in whichever of HTTP/1.1's ways."""

    def __init__(self, head: bytes, rest: bytes) -> None:
        self._headers = _parse_headers(head)
        self._buffer = rest
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._check()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._check()

    def connection_lost(self, _error: Exception | None) -> None:
        self._finish()

    def body(self) -> bytes:
        text = _join_chunks(self._buffer) if self._is_chunked else self._buffer
        return text[:MAXIMUM_ERROR_BODY_BYTES]

    @property
    def _is_chunked(self) -> bool:
        return self._headers.get("transfer-encoding", "").lower() == "chunked"

    def _check(self) -> None:
        length = self._headers.get("content-length", "")
        complete = (
            self._buffer.endswith(b"0" + _END_OF_HEAD)
            if self._is_chunked
            else length.isdigit() and len(self._buffer) >= int(length)
        )
        if complete or len(self._buffer) > 2 * MAXIMUM_ERROR_BODY_BYTES:
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def parse_header(head: bytes, name: str) -> str:
    """One header of a raw response head; empty if it is absent."""
    return _parse_headers(head).get(name.lower(), "")


def _parse_headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _parse_status(head: bytes, transport: asyncio.Transport) -> int:
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit():
        transport.abort()
        raise RelayError("the node's answer is not HTTP")
    return int(code)


def _join_chunks(text: bytes) -> bytes:
    joined = b""
    while text:
        size, _, text = text.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            break
        joined += text[:length]
        text = text[length + 2 :]
    return joined


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing() and not transport.is_reading():
        transport.resume_reading()
