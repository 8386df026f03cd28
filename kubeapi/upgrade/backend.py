"""Asks a backend to upgrade a connection: connects, sends the request, reads the answer up to its stream.

IO: one connection each. Called by `relay`, which goes on with the connection after a 101; any other answer is
read here to its end. Works on asyncio and uvloop, with TLS and without.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final, cast

from kubeapi.upgrade.messages import AnswerHead, UpgradeFailed, parse_answer_head, parse_body

_ANSWER_SECONDS: Final = 30.0
_REFUSAL_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class UpgradeTarget:
    """Where an upgrade goes: a server, and the path and query that are asked of it, as they are sent."""

    host: str
    port: int
    target: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Backend:
    """A connection on which an answer's head came, and `rest` after it. Reading is paused."""

    head: AnswerHead
    rest: bytes = field(repr=False)
    transport: asyncio.Transport

    @property
    def is_upgraded(self) -> bool:
        return self.head.status == 101


async def open_backend(
    target: UpgradeTarget, request_head: bytes, *, deadline_seconds: float = _ANSWER_SECONDS
) -> Backend:
    """Connects, sends the request and reads the answer's head. Raises UpgradeFailed."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(deadline_seconds):
            transport, reader = await loop.create_connection(
                _HeadReader, target.host, target.port, ssl=target.tls
            )
            return await _ask(transport, reader, request_head)
    except TimeoutError as error:
        raise UpgradeFailed(f"it gave no answer in {deadline_seconds:g} s") from error
    except OSError as error:
        raise UpgradeFailed(error.strerror or str(error)) from error


async def read_refusal(backend: Backend, *, deadline_seconds: float = _REFUSAL_SECONDS) -> bytes:
    """What a backend that did not upgrade says, as far as it comes in time; closes the connection."""
    reader = _BodyReader(backend)
    backend.transport.set_protocol(reader)
    backend.transport.resume_reading()
    try:
        async with asyncio.timeout(deadline_seconds):
            await reader.finished.wait()
    except TimeoutError:
        pass
    finally:
        backend.transport.abort()
    return reader.body


async def _ask(transport: asyncio.Transport, reader: _HeadReader, request_head: bytes) -> Backend:
    try:
        transport.write(request_head)
        head = await reader.head
    except BaseException:
        transport.abort()
        raise
    return Backend(head, reader.rest(head), transport)


class _HeadReader(asyncio.Protocol):
    """Collects a response's head, then stops reading so that nothing is lost to the next protocol."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self.head: asyncio.Future[AnswerHead] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transports behave as asyncio.Transport without being subclasses of it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self.head.done():
            return
        try:
            head = parse_answer_head(bytes(self._received))
        except UpgradeFailed as error:
            self._fail(error)
            return
        if head is not None:
            assert self._transport is not None
            self._transport.pause_reading()
            self.head.set_result(head)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            failure = UpgradeFailed("it closed the connection without an answer")
            failure.__cause__ = exc
            self._fail(failure)

    def _fail(self, error: UpgradeFailed) -> None:
        self.head.set_exception(error)
        # Who waited may have given up, and asyncio complains of failures that nobody sees.
        self.head.exception()

    def rest(self, head: AnswerHead) -> bytes:
        return bytes(self._received[len(head.raw) :])


class _BodyReader(asyncio.Protocol):
    """Collects a short body, delimited in whichever of HTTP/1.1's ways."""

    def __init__(self, backend: Backend) -> None:
        self._head = backend.head
        self._received = bytearray()
        self.body = b""
        self.finished = asyncio.Event()
        self.data_received(backend.rest)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self.body, is_complete = parse_body(self._head, bytes(self._received))
        if is_complete:
            self.finished.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.finished.set()
