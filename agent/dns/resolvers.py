"""Which servers other people's names are asked from, in which order, and which of them lead back to us.

Pure: the text of resolv.conf and the time arrive as arguments. Called by `agent.dns.forward`. Follows
resolv.conf(5). A resolver that sends our own questions back would make a loop; a question with a name that
nobody else can know shows it, as CoreDNS's loop plugin does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

_AVOID_SECONDS: Final = 10.0
_MOST_RESOLVERS: Final = 8
_PROBE_DOMAIN: Final = "berth-loop-probe"


def parse_resolv_conf(text: str) -> tuple[str, ...]:
    """The addresses of the nameservers, in order and once each; what is no address is left out."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                try:
                    found[str(ip_address(address))] = None
                except ValueError:
                    continue
    return tuple(found)[:_MOST_RESOLVERS]


@dataclass(slots=True)
class _Resolver:
    address: str
    avoid_until: float = 0.0
    loops: bool = False


class Resolvers:
    """The servers to ask: those that answered come first, those that loop never come."""

    def __init__(self, own_address: str, token: str) -> None:
        self._own_address = str(ip_address(own_address))
        self._token = token.lower()
        self._resolvers: list[_Resolver] = []

    def set_addresses(self, addresses: Iterable[str]) -> bool:
        """True when they differ from before; what was known of those that stay is forgotten then."""
        usable = [address for address in addresses if address != self._own_address]
        if usable == [resolver.address for resolver in self._resolvers]:
            return False
        self._resolvers = [_Resolver(address) for address in usable]
        return True

    def in_order(self, now: float) -> tuple[str, ...]:
        usable = [resolver for resolver in self._resolvers if not resolver.loops]
        return tuple(each.address for each in sorted(usable, key=lambda each: each.avoid_until > now))

    def note_failure(self, address: str, now: float) -> None:
        """Asks the others first for a while."""
        for resolver in self._resolvers:
            if resolver.address == address:
                resolver.avoid_until = now + _AVOID_SECONDS

    def note_success(self, address: str) -> None:
        for resolver in self._resolvers:
            if resolver.address == address:
                resolver.avoid_until = 0.0

    def probes(self) -> tuple[tuple[str, str], ...]:
        """For each resolver the address, and the name to ask it for."""
        return tuple(
            (resolver.address, f"{self._token}.{index}.{_PROBE_DOMAIN}")
            for index, resolver in enumerate(self._resolvers)
        )

    def note_name(self, name: str) -> str | None:
        """The resolver that sent us the name of its own probe, from now on left out; None for other names."""
        match name.split("."):
            case [self._token, index, domain] if domain == _PROBE_DOMAIN and index.isdecimal():
                return self._note_loop(int(index))
            case _:
                return None

    def _note_loop(self, index: int) -> str | None:
        if index >= len(self._resolvers) or self._resolvers[index].loops:
            return None
        self._resolvers[index].loops = True
        return self._resolvers[index].address
