"""Relays an upgraded connection byte for byte between a client of ours and the runtime's streaming server.

IO: one TCP connection to the runtime; then takes the client's connection out of aiohttp's hands. Called by
`streaming`. Knows nothing of SPDY or WebSocket: bytes go both ways with back-pressure, and the end of one
direction is passed on without ending the other where the transport can (TLS can't). A refusal of the upgrade
is an ordinary answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 30.0
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_NOT_FORWARDED: Final = frozenset({"host", "authorization", "content-length", "transfer-encoding", "expect"})


class RelayFailed(Exception):
    """The runtime's streaming server can't be reached or doesn't answer as HTTP; one sentence."""


@dataclass(frozen=True, slots=True)
class UpgradeAnswer:
    """What the streaming server said: status, head as it came, and the bytes after it (a refusal's whole
    body).
    """

    status: int
    head: bytes
    rest: bytes


class UpgradeHandshake(asyncio.Protocol):
    """Collects the answer to an upgrade request; after a 101 it stops reading, for a relay to take over."""

    def __init__(self, answered: asyncio.Future[UpgradeAnswer]) -> None:
        self._answered = answered
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._look(ended=False)

    def eof_received(self) -> None:
        self._look(ended=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            why = f": {exc}" if exc is not None else ""
            self._answered.set_exception(
                RelayFailed(f"the runtime's streaming server closed the connection{why}")
            )

    def _look(self, *, ended: bool) -> None:
        if self._answered.done():
            return
        try:
            answer = parse_upgrade_answer(bytes(self._received), ended=ended)
        except RelayFailed as error:
            self._answered.set_exception(error)
            return
        if answer is None:
            return
        if answer.status == 101 and self._transport is not None:
            self._transport.pause_reading()
        self._answered.set_result(answer)


class RelaySide(asyncio.Protocol):
    """One end of a relay: what arrives on `own` goes to `other`. `closed` is done when `own` is gone."""

    def __init__(self, own: asyncio.Transport, other: asyncio.Transport) -> None:
        self._own = own
        self._other = other
        self._ended = False
        self.peer: RelaySide | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def eof_received(self) -> bool:
        """Passes the end on; True keeps our own direction open, which TLS doesn't allow."""
        self._ended = True
        both_ended = self.peer is not None and self.peer._ended
        if self._other.can_write_eof() and not both_ended:
            self._other.write_eof()
        else:
            self._other.close()
        return self._own.can_write_eof() and not both_ended

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._other.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Our own peer reads slowly: the other end must wait."""
        self._other.pause_reading()

    def resume_writing(self) -> None:
        # A connection that is closing meanwhile takes no more commands.
        if not self._other.is_closing():
            self._other.resume_reading()


async def relay_upgrade(request: web.Request, url: str) -> web.StreamResponse:
    """Sends the request's upgrade to `url` and relays until both ends are closed; raises RelayFailed.

    Without a 101 the answer of the streaming server is ours: clients try the next protocol they know after
    it.
    """
    head = build_upgrade_request(url, request.method, request.headers.items())
    upstream, answered = await _connect(url)
    try:
        upstream.write(head)
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await answered
        if answer.status != 101:
            return web.Response(status=answer.status, body=answer.rest, content_type="text/plain")
        await _relay(request, answer, upstream)
    except TimeoutError as error:
        raise RelayFailed(
            f"the runtime's streaming server gave no answer in {_ANSWER_SECONDS:g} s"
        ) from error
    finally:
        upstream.close()
    return web.Response()


def build_upgrade_request(url: str, method: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of the request to the streaming server: the client's headers but those that name us. Pure."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _NOT_FORWARDED]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_upgrade_answer(received: bytes, *, ended: bool) -> UpgradeAnswer | None:
    """The answer, or None while it isn't complete; raises RelayFailed for what isn't HTTP. Pure."""
    head, separator, rest = received.partition(b"\r\n\r\n")
    if not separator:
        if ended or len(received) > _MAX_HEAD_BYTES:
            raise RelayFailed("the runtime's streaming server gave an answer without an end of its head")
        return None
    words = head.split(b" ", 2)
    if not head.startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise RelayFailed("the runtime's streaming server doesn't speak HTTP")
    answer = UpgradeAnswer(int(words[1]), head + separator, rest)
    if answer.status == 101 or ended or len(rest) >= _expected_body(head):
        return answer
    return None


def _expected_body(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return min(int(value), _MAX_REFUSAL_BYTES)
    return _MAX_REFUSAL_BYTES


async def _connect(url: str) -> tuple[asyncio.Transport, asyncio.Future[UpgradeAnswer]]:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise RelayFailed(
            f"the runtime's streaming server is at {parts.scheme}://{parts.netloc}; only http is spoken"
        )
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[UpgradeAnswer] = loop.create_future()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            transport, _ = await loop.create_connection(
                lambda: UpgradeHandshake(answered), parts.hostname, parts.port or 80
            )
    except (OSError, TimeoutError) as error:
        raise RelayFailed(
            f"the runtime's streaming server at {parts.netloc} can't be reached: {error}"
        ) from error
    # Nobody may be left to see a late failure.
    answered.add_done_callback(lambda done: done.cancelled() or done.exception())
    return transport, answered


async def _relay(request: web.Request, answer: UpgradeAnswer, upstream: asyncio.Transport) -> None:
    client = request.transport
    if client is None:
        raise RelayFailed("the client went away")
    former = request.protocol
    front, back = join_sides(client, upstream)
    client.write(answer.head + answer.rest)
    client.set_protocol(front)
    upstream.set_protocol(back)
    client.resume_reading()
    upstream.resume_reading()
    try:
        await front.closed
        await back.closed
    finally:
        client.close()
        # aiohttp's own protocol learns that its connection is gone, and ends the request without writing to
        # it.
        former.connection_lost(None)


def join_sides(one: asyncio.Transport, other: asyncio.Transport) -> tuple[RelaySide, RelaySide]:
    """The protocols for two connected transports that each write what the other receives."""
    first, second = RelaySide(one, other), RelaySide(other, one)
    first.peer, second.peer = second, first
    return first, second
