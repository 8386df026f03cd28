"""Relays upgraded connections byte for byte between the clients of an aiohttp server and its backends.

IO: takes the client's connection out of aiohttp's hands once the backend has switched protocols. Called by
the node's own server and by the API server. Knows nothing of SPDY or WebSocket: bytes go both ways, a slow
reader stops the other side's reading, and the end of one direction is passed on without ending the other
where the transport can (TLS can't). A refusal to upgrade is an ordinary answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from kubeapi.upgrade.backend import Backend, UpgradeTarget, open_backend, read_refusal
from kubeapi.upgrade.messages import build_request_head

# As long as asyncio's TLS waits for the end of a connection.
_LAST_BYTES_SECONDS: Final = 30.0
# A backend whose matter has ended closes by itself within milliseconds, if it does.
_ENDED_SECONDS: Final = 2.0


class UpgradeRelays:
    """The upgraded connections of one server."""

    def __init__(self) -> None:
        self._open: set[Relay] = set()

    async def answer(
        self, request: web.Request, target: UpgradeTarget, *, until: asyncio.Future[None] | None = None
    ) -> web.StreamResponse:
        """Sends the request's upgrade to `target` and relays until both ends are closed, or for a while after
        `until` is done.

        Without a 101 the backend's answer is ours: clients try the next protocol they know after it. Raises
        UpgradeFailed.
        """
        head = build_request_head(request.method, target.target, target.authority, request.headers.items())
        backend = await open_backend(target, head)
        if not backend.is_upgraded:
            kind = backend.head.headers.get("content-type") or "text/plain"
            body = await read_refusal(backend)
            return web.Response(status=backend.head.status, body=body, headers={"Content-Type": kind})
        await self._relay(request, backend, until)
        return web.Response()

    def abort(self) -> None:
        """Cuts all connections at once; `answer` returns for each."""
        for relay in tuple(self._open):
            relay.abort()

    async def _relay(
        self, request: web.Request, backend: Backend, until: asyncio.Future[None] | None
    ) -> None:
        protocol, client = request.protocol, request.transport
        if client is None:
            backend.transport.abort()
            raise ConnectionResetError("the client left before the upgrade")
        # What the client sent behind its request; aiohttp's parser keeps it for protocols that it knows.
        early_bytes: bytes = protocol._message_tail
        protocol._message_tail = b""
        relay = Relay(client, backend.transport)
        self._open.add(relay)
        try:
            await relay.run(to_client=backend.head.raw + backend.rest, to_backend=early_bytes, until=until)
        finally:
            self._open.discard(relay)
            # aiohttp learns that its connection is gone, and ends the request without writing to it.
            protocol.connection_lost(None)


class Relay:
    """Two connected transports, each of which writes what the other receives; make it, then `run` it."""

    def __init__(
        self,
        client: asyncio.Transport,
        backend: asyncio.Transport,
        *,
        last_bytes_seconds: float = _LAST_BYTES_SECONDS,
        ended_seconds: float = _ENDED_SECONDS,
    ) -> None:
        self._client, self._backend = _Side(client), _Side(backend)
        self._client.peer, self._backend.peer = self._backend, self._client
        self._last_bytes_seconds = last_bytes_seconds
        self._ended_seconds = ended_seconds

    async def run(
        self,
        *,
        to_client: bytes = b"",
        to_backend: bytes = b"",
        until: asyncio.Future[None] | None = None,
    ) -> None:
        """Until both sides are closed; what is given goes out first. A side whose peer is gone gets a while
        to take its last bytes, and so do both once `until` is done.
        """
        sides = (self._client, self._backend)
        try:
            self._client.start(to_client)
            self._backend.start(to_backend)
            for side in sides:
                side.receive()
            closed = [side.closed for side in sides]
            await asyncio.wait(
                closed if until is None else [*closed, until], return_when=asyncio.FIRST_COMPLETED
            )
            if not any(side.closed.done() for side in sides):
                await asyncio.wait(closed, timeout=self._ended_seconds, return_when=asyncio.FIRST_COMPLETED)
                self._client.close()
            await asyncio.wait(closed, timeout=self._last_bytes_seconds)
        finally:
            self.abort()

    def abort(self) -> None:
        """Cuts both sides at once."""
        self._client.transport.abort()
        self._backend.transport.abort()


class _Side(asyncio.Protocol):
    """One end of a relay: what arrives here leaves at the peer. `closed` is done when the end is gone."""

    peer: _Side

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ended = False
        self.is_full = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, first_bytes: bytes) -> None:
        self.transport.set_protocol(self)
        if first_bytes and not self.transport.is_closing():
            self.transport.write(first_bytes)

    def receive(self) -> None:
        if self.transport.is_closing():
            # The former protocol may have been told so, and nobody else will be.
            self.connection_lost(None)
        elif not self.peer.is_full and not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        """This end takes bytes slowly: the other must wait."""
        self.is_full = True
        if not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.is_full = False
        if not self.peer.transport.is_closing():
            self.peer.receive()

    def eof_received(self) -> bool:
        """Passes the end on; True keeps the other direction open, which TLS doesn't allow."""
        self.ended = True
        if self.peer.ended or not self.peer.transport.can_write_eof():
            self.peer.close()
            return False
        if not self.peer.transport.is_closing():
            self.peer.transport.write_eof()
        return self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.peer.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Closes this end after its last byte. Twice would take asyncio's TLS the means to abort."""
        if not self.transport.is_closing():
            self.transport.close()
