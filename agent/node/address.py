"""Finds the address under which the rest of the cluster reaches this node.

IO: a name look-up and a UDP socket that is connected but sends nothing: the kernel then names the source
address of the route. Called by `agent.app` at start. That is the address that reaches the API server, never
merely the first interface's, which is the same on all machines of some virtual labs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

import psutil

_LOOKUP_SECONDS: Final = 10.0


class NoNodeAddress(Exception):
    """No address of this machine can be the node's; one sentence that says what to do."""


async def choose_node_ip(server_url: str, node_ip: str = "") -> str:
    """`node_ip` if given, else the source address of the way to the API server; raises NoNodeAddress."""
    if node_ip:
        return parse_node_ips(node_ip)[0]
    source = await _find_source(server_url)
    if ipaddress.ip_address(source).is_loopback:
        # The API server runs on this very machine: others reach us by another address, if there is one.
        return find_interface_address() or source
    return source


def choose_lone_ip(node_ip: str = "") -> str:
    """For a node without an API server: `node_ip` if given, else an interface's address, else loopback."""
    return parse_node_ips(node_ip)[0] if node_ip else find_interface_address() or "127.0.0.1"


def find_interface_address() -> str | None:
    """The first IPv4 address of an interface that is up, neither loopback nor link-local."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    for name, addresses in psutil.net_if_addrs().items():
        for entry in addresses:
            if name in up and entry.family is socket.AF_INET:
                address = ipaddress.ip_address(entry.address)
                if not address.is_loopback and not address.is_link_local:
                    return str(address)
    return None


def parse_node_ips(text: str) -> tuple[str, ...]:
    """The addresses of `--node-ip`: one, or the primary and one of the other family; raises NoNodeAddress."""
    ips = tuple(_check(part.strip()) for part in text.split(",") if part.strip())
    if len(ips) > 2 or len({":" in ip for ip in ips}) != len(ips):
        raise NoNodeAddress(f"the node IPs {text!r} are not one of IPv4 and one of IPv6")
    return ips


def _check(node_ip: str) -> str:
    try:
        return str(ipaddress.ip_address(node_ip))
    except ValueError as error:
        raise NoNodeAddress(
            f"the node IP {node_ip!r} is not an IP address; write one, for example 192.0.2.10"
        ) from error


async def _find_source(server_url: str) -> str:
    parts = urlsplit(server_url)
    host, port = parts.hostname or "", parts.port or 443
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError) as error:
        raise NoNodeAddress(
            f"the API server's host {host!r} can't be looked up; set the node IP yourself"
        ) from error
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(address)
            except OSError:
                continue
            return str(probe.getsockname()[0])
    raise NoNodeAddress(
        f"this machine has no route to the API server's host {host!r}; add one, or set the node IP"
    )
