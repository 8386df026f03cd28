"""Which DNS names one Service gives rise to, and what they hold.

Pure. Called by `agent.dns.zone` for the Service that changed, and only for it. Follows the "Kubernetes
DNS-Based Service Discovery" specification 1.1 and, where that is silent, what CoreDNS answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from kubeapi.core import Service
from kubeapi.discovery import Endpoint, EndpointSlice

HEADLESS = "None"


@dataclass(frozen=True, slots=True, order=True)
class ServiceTarget:
    """What an SRV record says, apart from its fixed priority and weight; `host` is relative to the zone."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Records:
    """All that one name holds: addresses of both families, SRV targets, or an alias to an absolute name."""

    addresses: tuple[str, ...] = ()
    targets: tuple[ServiceTarget, ...] = ()
    alias: str = ""


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """The names of one Service relative to the zone, in lower case, and the names that its addresses lead
    back to.
    """

    records: Mapping[str, Records]
    pointers: Mapping[str, str]


def is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == HEADLESS


def compute_names(service: Service, slices: Iterable[EndpointSlice]) -> ServiceNames:
    """The names of a Service; its slices count only when it is headless."""
    name = f"{service.metadata.name}.{service.metadata.namespace}.svc".lower()
    if service.spec.type == "ExternalName":
        return ServiceNames({name: Records(alias=service.spec.external_name.rstrip("."))}, {})
    if is_headless(service):
        return _headless_names(name, service, sorted(slices, key=lambda each: each.metadata.name))
    return _cluster_ip_names(name, service)


def _cluster_ip_names(name: str, service: Service) -> ServiceNames:
    addresses = _canonical(service.spec.cluster_ips or (service.spec.cluster_ip,))
    if not addresses:
        return ServiceNames({}, {})
    records = {}
    for port in service.spec.ports:
        if port.name:
            port_name = f"_{port.name}._{port.protocol}.{name}".lower()
            records[port_name] = Records(targets=(ServiceTarget(name, port.port),))
    every_port = {ServiceTarget(name, port.port) for port in service.spec.ports}
    records[name] = Records(addresses, tuple(sorted(every_port)))
    return ServiceNames(records, dict.fromkeys(addresses, name))


def _headless_names(name: str, service: Service, slices: Iterable[EndpointSlice]) -> ServiceNames:
    addresses_of_host: defaultdict[str, set[str]] = defaultdict(set)
    targets_of_port: defaultdict[str, set[ServiceTarget]] = defaultdict(set)
    pointers: dict[str, str] = {}
    for slice_ in slices:
        for endpoint in _published(slice_, service.spec.publish_not_ready_addresses):
            addresses = _canonical(endpoint.addresses)
            if not addresses:
                continue
            host = f"{endpoint.hostname or _dashed(addresses[0])}.{name}".lower()
            addresses_of_host[host].update(addresses)
            pointers.update((address, host) for address in addresses)
            for port in slice_.ports:
                if port.port is not None:
                    label = f"_{port.name}._{port.protocol}".lower() if port.name else ""
                    targets_of_port[label].add(ServiceTarget(host, port.port))
    return ServiceNames(_headless_records(name, addresses_of_host, targets_of_port), pointers)


def _headless_records(
    name: str, addresses_of_host: Mapping[str, set[str]], targets_of_port: Mapping[str, set[ServiceTarget]]
) -> dict[str, Records]:
    records = {host: Records(tuple(sorted(addresses))) for host, addresses in addresses_of_host.items()}
    for label, targets in targets_of_port.items():
        if label:
            records[f"{label}.{name}"] = Records(targets=tuple(sorted(targets)))
    # The Service's own name is there even without endpoints: it holds nothing then, but it exists.
    records[name] = Records(
        tuple(sorted(set[str]().union(*addresses_of_host.values()))),
        tuple(sorted(set[ServiceTarget]().union(*targets_of_port.values()))),
    )
    return records


def _published(slice_: EndpointSlice, not_ready_too: bool) -> Iterator[Endpoint]:
    """The endpoints to be found: ready ones, where unknown counts as ready."""
    if slice_.address_type in ("IPv4", "IPv6"):
        for endpoint in slice_.endpoints:
            if not_ready_too or endpoint.conditions.ready is not False:
                yield endpoint


def _canonical(addresses: Iterable[str]) -> tuple[str, ...]:
    """The addresses as one writes them; what is no address is left out."""
    return tuple(text for address in addresses if (text := _canonical_address(address)))


def _canonical_address(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return ""


def _dashed(address: str) -> str:
    """The host label of an endpoint that has no hostname."""
    return address.replace(".", "-").replace(":", "-")
