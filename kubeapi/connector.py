"""The connections of an HTTP client, none of which outlives it.

IO: opens and closes what aiohttp asks for. Used by `kubeapi.client` and by the API server's calls to nodes.
aiohttp forgets a connection once it has begun to close it. TLS however says goodbye first and waits for the
peer's answer, so that a request which was cancelled would leave its socket open after the client's end.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp

from kubeapi.transport import open_socket

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_GONE_SECONDS: Final = 5.0


class Connector(aiohttp.TCPConnector):
    """As many connections as there are requests; `close` cuts each and waits until it is gone.

    Without `tls`, servers with https URLs are judged by the system's authorities.
    """

    def __init__(self, *, tls: ssl.SSLContext | None, keep_idle_seconds: float) -> None:
        super().__init__(
            # Each watch holds a connection, so requests must never queue behind them.
            limit=0,
            ssl=tls if tls is not None else True,
            keepalive_timeout=keep_idle_seconds,
            socket_factory=open_socket,
        )
        self._open: dict[ResponseHandler, asyncio.Transport] = {}

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol, transport = connection.protocol, connection.transport
        if protocol is not None and transport is not None and protocol not in self._open:
            self._remember(protocol, transport)
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        gone = [closed for protocol in self._open if (closed := protocol.closed) is not None]
        for transport in self._open.values():
            transport.abort()
        await super().close(abort_ssl=abort_ssl)
        if gone:
            await asyncio.wait(gone, timeout=_GONE_SECONDS)

    def _remember(self, protocol: ResponseHandler, transport: asyncio.Transport) -> None:
        closed = protocol.closed
        if closed is not None:
            self._open[protocol] = transport
            closed.add_done_callback(lambda done: self._forget(protocol, done))

    def _forget(self, protocol: ResponseHandler, closed: asyncio.Future[None]) -> None:
        self._open.pop(protocol, None)
        # Why it broke is told to who waits for its answer.
        if not closed.cancelled():
            closed.exception()
