"""Cluster IPs and node ports of Services without an API server that would give them out.

Pure. Called by `cluster` for all Services at once. What a manifest says counts; everything else is chosen by
the Service's name, so that it is the same on every start, and what was chosen once stays as long as the
Service is there, whoever comes later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from kubeapi.core import Service

_NODE_PORTS: Final = range(30000, 32768)
_WITH_NODE_PORTS: Final = ("NodePort", "LoadBalancer")

Choices = Mapping[str, str]
"""What was chosen, by a text that names what it was chosen for."""


def complete_services(
    services: Iterable[Service], chosen: Choices, service_cidr: str, reserved: Collection[str]
) -> tuple[tuple[Service, ...], Choices]:
    """The Services with addresses and ports, and the choices to remember. `reserved` addresses are never
    chosen.
    """
    present = sorted(services, key=lambda service: service.key)
    addresses = _choose_addresses(present, chosen, service_cidr, reserved)
    ports = _choose_ports(present, chosen)
    completed = tuple(_complete(service, addresses, ports) for service in present)
    return completed, {**addresses, **ports}


def _complete(service: Service, addresses: Choices, ports: Choices) -> Service:
    spec = service.spec
    address = addresses.get(_name_address(service), spec.cluster_ip)
    numbered = tuple(
        msgspec.structs.replace(port, node_port=int(ports.get(_name_port(service, index), port.node_port)))
        for index, port in enumerate(spec.ports)
    )
    new = msgspec.structs.replace(
        spec,
        cluster_ip=address,
        cluster_ips=spec.cluster_ips or ((address,) if address else ()),
        ports=numbered,
    )
    return msgspec.structs.replace(service, spec=new)


def _choose_addresses(
    services: Collection[Service], chosen: Choices, service_cidr: str, reserved: Collection[str]
) -> Choices:
    network = ip_network(service_cidr)
    written = {service.spec.cluster_ip for service in services}
    names = [
        _name_address(service)
        for service in services
        if service.spec.type != "ExternalName" and not service.spec.cluster_ip
    ]
    # The network's own address and, of IPv4, its broadcast address are nobody's.
    size = min(network.num_addresses - 2, 1 << 16)

    def is_usable(address: str) -> bool:
        return ip_address(address) in network

    return _choose(
        names, chosen, {*written, *reserved}, size, lambda index: str(network[index + 1]), is_usable
    )


def _choose_ports(services: Collection[Service], chosen: Choices) -> Choices:
    ports = [
        (_name_port(service, index), str(port.node_port) if port.node_port else "")
        for service in services
        if service.spec.type in _WITH_NODE_PORTS
        for index, port in enumerate(service.spec.ports)
    ]
    written = {number for _, number in ports if number}
    names = [name for name, number in ports if not number]
    return _choose(
        names,
        chosen,
        written,
        len(_NODE_PORTS),
        lambda index: str(_NODE_PORTS[index]),
        lambda port: int(port) in _NODE_PORTS,
    )


def _choose(
    names: Collection[str],
    chosen: Choices,
    taken: Collection[str],
    size: int,
    render: Callable[[int], str],
    is_usable: Callable[[str], bool],
) -> Choices:
    """Choices that stand come first; a new one is the first free one from where its name points to. Where
    all are taken, the rest get none.
    """
    used = set(taken)
    found: dict[str, str] = {}
    for name in names:
        if (old := chosen.get(name)) is not None and old not in used and is_usable(old):
            found[name] = old
            used.add(old)
    for name in names:
        if name not in found:
            start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % max(size, 1)
            free = (render((start + step) % size) for step in range(size))
            if (new := next((each for each in free if each not in used), None)) is not None:
                found[name] = new
                used.add(new)
    return found


def _name_address(service: Service) -> str:
    return f"address of {service.key}"


def _name_port(service: Service, index: int) -> str:
    return f"port {index} of {service.key}"
