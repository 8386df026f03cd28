"""Tells when the kernel's links, addresses or our routes changed, so that the pod network is looked at again.

A shell over rtnetlink multicast groups (pyroute2). Called by `agent.podnetwork.network`. A hint says only
that something happened; what it was is seen by looking. Follows rtnetlink(7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import AgentError
from agent.podnetwork.cni_config import BRIDGE
from agent.podnetwork.routes import ROUTE_PROTOCOL

_GROUPS: Final = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
)
_POD_LINK_PREFIXES: Final = ("veth", BRIDGE)


async def watch_kernel(notice: Callable[[], None]) -> None:
    """Calls `notice` for each change that may concern our routes, until cancelled; raises AgentError."""
    try:
        async with AsyncIPRoute() as netlink:
            await netlink.bind(groups=_GROUPS)
            # What happened before this socket listened is seen by looking once.
            notice()
            async for message in netlink.get():
                if _concerns_us(message):
                    notice()
    except (NetlinkError, OSError) as error:
        raise AgentError(f"changes of links and routes are not seen for a moment: {error}") from error


def _concerns_us(message: Any) -> bool:
    match message.get("event"):
        case "RTM_DELROUTE":
            return bool(message["proto"] == ROUTE_PROTOCOL)
        case "RTM_NEWADDR" | "RTM_DELADDR":
            return True
        case "RTM_NEWLINK" | "RTM_DELLINK":
            # The kernel drops IPv4 routes of a link that goes down without a word, so links count too; but
            # not those of pods and their bridge, which change all the time and carry none of our routes.
            return not str(message.get("ifname")).startswith(_POD_LINK_PREFIXES)
        case _:
            return False
