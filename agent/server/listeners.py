"""The sockets that the node listens on: HTTPS for the cluster, plain HTTP on loopback for its own health.

IO: binds, serves, closes. Called by `agent.app`, which keeps them open as long as the agent runs.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

_SHUTDOWN_SECONDS: Final = 1.0


class PortTaken(Exception):
    """An address can't be listened on; one sentence that names it."""


@asynccontextmanager
async def listen(
    application: web.Application, host: str | None, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serves the application within the block; yields the port, which matters when 0 was asked for.

    A `host` of None means all addresses. Raises PortTaken.
    """
    # Without cancellation, followers of logs who went away would keep their handlers for ever.
    runner = web.AppRunner(
        application, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            where = f"{host or '*'}:{port}"
            why = os.strerror(error.errno) if error.errno else error  # asyncio's own text is a paragraph
            raise PortTaken(
                f"can't listen on {where}: {why}; end what uses it or choose another port"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
