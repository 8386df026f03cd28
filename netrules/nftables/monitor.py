"""Notices when somebody else touches our nftables tables.

Shell: a netlink multicast socket in the event loop. Awaited by the agent's proxy, which then compares the
kernel with what is wanted. Says only that something happened: what, is read from the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from netrules import netlink
from netrules.netlink_socket import NetlinkSocket
from netrules.nftables import decode, encode
from netrules.nftables.layout import TABLE

_GROUP_NFTABLES: Final = 7


class NftablesMonitor:
    """Calls `on_change` in the event loop when our tables changed by a netlink port not in `own_ports()`.

    Notifications that the kernel had to drop count as a change. Use as a context manager inside the loop.
    """

    def __init__(self, own_ports: Callable[[], Iterable[int]], on_change: Callable[[], None]) -> None:
        self._own_ports = own_ports
        self._on_change = on_change
        self._socket: NetlinkSocket | None = None

    def __enter__(self) -> Self:
        self._socket = NetlinkSocket(groups=(_GROUP_NFTABLES,))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        messages = self._socket.drain() if self._socket else ()
        own = frozenset(self._own_ports())
        if messages is None or any(is_about_us(message, own) for message in messages):
            self._on_change()


def is_about_us(message: netlink.Message, own_ports: frozenset[int]) -> bool:
    """Whether the notification tells of a change of our tables that wasn't ours."""
    if message.port_id in own_ports or message.type >> 8 != encode.SUBSYSTEM:
        return False
    if message.type & 0xFF in (encode.NEW_GENERATION, encode.GET_GENERATION):
        return False
    # In every object's message attribute 1 is the table's name.
    return netlink.parse_text(decode.parse_object(message.payload).get(1, b"")) == TABLE
