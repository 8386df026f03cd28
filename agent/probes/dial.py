"""Opens TCP connections for probes and hooks.

IO: sockets, and the resolver for a `host` that is a name, in a thread of its own. No deadline: the caller
sets one. Follows tcp(7): TCP_LINGER2, so that thousands of probes use up no ports.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from typing import Final

from agent.volumes.blocking import BlockingWork, WorkHangs

_RESOLVER_SECONDS: Final = 30.0

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class DialFailed(Exception):
    """No connection, in the words that Kubernetes' users know."""


class Dialer:
    def __init__(self) -> None:
        self._names = BlockingWork()

    async def dial(self, host: str, port: int) -> socket.socket:
        """A connected socket, which the caller closes; raises DialFailed."""
        error = DialFailed(f"dial tcp: lookup {host}: no such host")
        for family, address in await self._resolve(host, port):
            try:
                return await _connect(family, address)
            except OSError as failure:
                where = f"[{address[0]}]:{port}" if ":" in address[0] else f"{address[0]}:{port}"
                error = DialFailed(f"dial tcp {where}: connect: {describe_network_error(failure)}")
                error.__cause__ = failure
        raise error

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """Not in the loop's own pool: a name server that hangs would hold up whatever else waits there."""
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return await self._look_up(host, port)
        return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]

    async def _look_up(self, host: str, port: int) -> list[Address]:
        def look_up() -> list[Address]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [(entry[0], entry[4]) for entry in found]  # type: ignore[misc]

        what = f"the look-up of {host}"
        try:
            return await self._names.run(host, what, look_up, deadline_seconds=_RESOLVER_SECONDS)
        except (OSError, UnicodeError) as error:
            raise DialFailed(f"dial tcp: lookup {host}: no such host") from error
        except WorkHangs as error:
            raise DialFailed(f"dial tcp: lookup {host}: i/o timeout") from error


async def _connect(
    family: socket.AddressFamily, address: tuple[str, int] | tuple[str, int, int, int]
) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        # Our end is closed in order, and forgotten as soon as the peer's kernel has noted it.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, -1)
        await asyncio.get_running_loop().sock_connect(opened, address)
    except BaseException:
        opened.close()
        raise
    return opened


def describe_network_error(error: Exception) -> str:
    """The kernel's words for what went wrong, in lower case. Pure."""
    if isinstance(error, EOFError):
        return "EOF"
    if not isinstance(error, OSError) or error.errno is None or type(error).__module__ == "ssl":
        return str(error) or type(error).__name__
    # asyncio's own text repeats the address; a failed name look-up has numbers that aren't the kernel's.
    return os.strerror(error.errno).lower() if error.errno > 0 else str(error.strerror)
