"""Reads and changes this network namespace: our routes, our bridge, the forwarding switch.

A shell over rtnetlink (pyroute2) and /proc/sys. Called by `agent.podnetwork.network`. Follows rtnetlink(7).
"""

from __future__ import annotations

import errno
from pathlib import Path
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Any, Final, Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import AgentError
from agent.podnetwork.routes import ROUTE_PROTOCOL, PodRoute, RouteChange

_FORWARDING: Final = {
    4: Path("/proc/sys/net/ipv4/ip_forward"),
    6: Path("/proc/sys/net/ipv6/conf/all/forwarding"),
}
_GONE: Final = (errno.ESRCH, errno.ENOENT, errno.ENODEV)


class KernelNetwork:
    """The routes and links of the namespace this process is in; use it with `async with`."""

    def __init__(self) -> None:
        self._netlink: Any = AsyncIPRoute()

    async def __aenter__(self) -> Self:
        await self._netlink.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._netlink.__aexit__(kind, error, trace)

    async def read_routes(self) -> frozenset[PodRoute]:
        """Our routes, of both families."""
        return frozenset(
            [
                PodRoute(f"{route.get('dst')}/{route['dst_len']}", str(route.get("gateway")))
                for family in (AF_INET, AF_INET6)
                async for route in await self._netlink.get_routes(family=family, proto=ROUTE_PROTOCOL)
                if route["proto"] == ROUTE_PROTOCOL and route.get("dst") and route.get("gateway")
            ]
        )

    async def apply_routes(self, change: RouteChange) -> None:
        """Puts routes in place and removes others; one that is gone already is success.

        A route that can't be had doesn't hinder the others; AgentError names the first when all are tried.
        """
        failures: list[AgentError] = []
        for route in change.replace:
            try:
                await self._replace_route(route)
            except AgentError as error:
                failures.append(error)
        for route in change.remove:
            try:
                await self._remove_route(route)
            except AgentError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def _replace_route(self, route: PodRoute) -> None:
        try:
            await self._netlink.route(
                "replace", dst=route.destination, gateway=route.gateway, proto=ROUTE_PROTOCOL
            )
        except NetlinkError as error:
            raise AgentError(
                f"cannot route the pods {route.destination} by way of {route.gateway}: {error}; "
                "the two nodes must share a link"
            ) from error

    async def _remove_route(self, route: PodRoute) -> None:
        try:
            await self._netlink.route("del", dst=route.destination, proto=ROUTE_PROTOCOL)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise AgentError(f"cannot remove the route to {route.destination}: {error}") from error

    async def remove_link(self, name: str) -> None:
        """Removes a link; not there is success."""
        for index in await self._netlink.link_lookup(ifname=name):
            await self._netlink.link("del", index=index)


def ensure_forwarding(version: int) -> None:
    """Switches IP forwarding on for a family; AgentError when this process may not."""
    path = _FORWARDING[version]
    try:
        if path.read_text().strip() != "1":
            path.write_text("1\n")
    except OSError as error:
        name = str(path.relative_to("/proc/sys")).replace("/", ".")
        raise AgentError(
            f"cannot switch on {name} ({error.strerror}); pods can't reach other nodes without it: "
            f"run `sysctl -w {name}=1`"
        ) from error
