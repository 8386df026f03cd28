"""Which cluster IPs and node ports are taken, and giving Services theirs without two getting the same.

No IO; reads the watch cache. `allocation` chooses; this keeps the ledger: what stored Services hold,
brought up to date by looking only at those that changed, and what writes in flight have claimed. Called by
the registry around each write of a Service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from controlplane.apiserver.allocation import Ranges, Taken, allocate_service
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.documents import Document, decode_json
from controlplane.apiserver.failures import invalid
from controlplane.apiserver.kinds import SERVICE
from kubeapi.status import StatusCause


@dataclass(frozen=True, slots=True)
class _Holding:
    revision: int
    addresses: tuple[str, ...]
    node_ports: tuple[int, ...]


class ServiceAddresses:
    """The ledger of one cluster's Service addresses."""

    def __init__(self, cache: WatchCache, ranges: Ranges, random: Random) -> None:
        self._cache = cache
        self._ranges = ranges
        self._random = random
        self._holdings: dict[str, _Holding] = {}
        self._addresses: Counter[str] = Counter()
        self._node_ports: Counter[int] = Counter()

    @contextmanager
    def reserve(self, service: Document, old: Mapping[str, Any] | None) -> Iterator[Document]:
        """The Service with its addresses, which stay claimed within the block; ApiFailure 422."""
        self._catch_up()
        taken = Taken(self._addresses, self._node_ports)
        allocation = allocate_service(service, old, taken, self._ranges, self._random)
        if allocation.causes:
            raise invalid(
                SERVICE,
                service["metadata"]["name"],
                (
                    StatusCause(reason=cause.reason, message=cause.message, field=cause.field)
                    for cause in allocation.causes
                ),
            )
        self._count(allocation.addresses, allocation.node_ports, 1)
        try:
            yield allocation.document
        finally:
            self._count(allocation.addresses, allocation.node_ports, -1)

    def _catch_up(self) -> None:
        """Take over the Services that were written since last time."""
        current = {cached.key: cached for cached in self._cache.select(SERVICE)}
        for key in self._holdings.keys() - current.keys():
            self._drop(key)
        for key, cached in current.items():
            known = self._holdings.get(key)
            if known is None or known.revision != cached.revision:
                self._drop(key)
                self._hold(key, cached.revision, decode_json(cached.body))

    def _hold(self, key: str, revision: int, service: Mapping[str, Any]) -> None:
        spec = service.get("spec") or {}
        addresses = tuple(address for address in spec.get("clusterIPs") or () if address != "None")
        node_ports = tuple(port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort"))
        self._holdings[key] = _Holding(revision, addresses, node_ports)
        self._count(addresses, node_ports, 1)

    def _drop(self, key: str) -> None:
        holding = self._holdings.pop(key, None)
        if holding is not None:
            self._count(holding.addresses, holding.node_ports, -1)

    def _count(self, addresses: tuple[str, ...], node_ports: tuple[int, ...], step: int) -> None:
        for address in addresses:
            self._addresses[address] += step
            if not self._addresses[address]:
                del self._addresses[address]
        for port in node_ports:
            self._node_ports[port] += step
            if not self._node_ports[port]:
                del self._node_ports[port]
