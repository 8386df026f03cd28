"""The cluster DNS address on this node's loopback, so that pods and node reach the server directly.

A shell over rtnetlink (pyroute2). Called by `agent.dns.server`. What was added is written down before, so
that exactly that is removed again, and an address that somebody else put there is left alone.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import AgentError

_LOOPBACK: Final = "lo"
# Not global: the kernel would choose it as the source of what leaves the node, for masquerading too.
_SCOPE_HOST: Final = 254


class LocalAddress:
    """One address on `lo`, remembered in a file while it is ours."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    async def ensure(self, address: str) -> bool:
        """Puts the address on `lo`; True when it wasn't there. One of ours from before is removed.

        Raises AgentError.
        """
        remembered = self._recall()
        if remembered and remembered != address:
            await self.remove()
        async with AsyncIPRoute() as netlink:
            if await _is_there(netlink, address):
                return False
            self._remember(address)
            await _change(netlink, "add", address)
            return True

    async def remove(self) -> None:
        """Removes the address that `ensure` added, if it did; already gone is success. Raises AgentError."""
        address = self._recall()
        if not address:
            return
        async with AsyncIPRoute() as netlink:
            await _change(netlink, "del", address)
        self._memory.unlink(missing_ok=True)

    def _recall(self) -> str:
        try:
            return str(ip_address(self._memory.read_text(encoding="ascii").strip()))
        except (OSError, ValueError):
            return ""

    def _remember(self, address: str) -> None:
        partial = self._memory.with_suffix(".partial")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(f"{address}\n", encoding="ascii")
            os.replace(partial, self._memory)
        except OSError as error:
            raise AgentError(
                f"cannot write {self._memory}: {error.strerror}; make the directory writable"
            ) from error


async def _is_there(netlink: Any, address: str) -> bool:
    family = _family(address)
    return any([each.get("address") == address async for each in await netlink.get_addr(family=family)])


async def _change(netlink: Any, verb: str, address: str) -> None:
    length = 128 if ip_address(address).version == 6 else 32
    try:
        (index,) = await netlink.link_lookup(ifname=_LOOPBACK)
        await netlink.addr(verb, index=index, address=address, prefixlen=length, scope=_SCOPE_HOST)
    except NetlinkError as error:
        if error.code == (errno.EEXIST if verb == "add" else errno.EADDRNOTAVAIL):
            return
        raise AgentError(
            f"cannot {verb} the cluster DNS address {address} on {_LOOPBACK}: {os.strerror(error.code)}; "
            "the agent needs CAP_NET_ADMIN"
        ) from error


def _family(address: str) -> int:
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
