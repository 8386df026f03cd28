"""EndpointSlices of this node's Services, from its own pods' labels and readiness.

Pure. Called by `cluster` whenever a Service or a pod changed. A node holds few pods, so a Service has one
slice for each address family and set of port numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from kubeapi.core import Service
from kubeapi.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointSlice
from kubeapi.meta import ObjectMeta
from kubeapi.pod import Pod, PodUID
from kubeapi.service_endpoints import Ports, build_endpoint, compute_ports

_FINISHED: Final = ("Succeeded", "Failed")
_FAMILIES: Final = ("IPv4", "IPv6")


def compute_endpoint_slices(
    services: Iterable[Service], pods: Collection[Pod], terminating: Collection[PodUID]
) -> Iterator[EndpointSlice]:
    """The slices of all Services that have a selector; `terminating` are the pods that end."""
    for service in services:
        if service.spec.selector and service.spec.type != "ExternalName":
            chosen = [pod for pod in pods if _selects(service, pod)]
            for family in _FAMILIES:
                yield from _compute_slices(service, chosen, terminating, family)


def _selects(service: Service, pod: Pod) -> bool:
    return (
        pod.metadata.namespace == service.metadata.namespace
        and service.spec.selector.items() <= pod.metadata.labels.items()
        and pod.status.phase not in _FINISHED
    )


def _compute_slices(
    service: Service, pods: Iterable[Pod], terminating: Collection[PodUID], family: str
) -> Iterator[EndpointSlice]:
    groups: dict[Ports, list[Endpoint]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        addresses = tuple(each.ip for each in pod.status.pod_ips if _is_of_family(each.ip, family))
        if addresses:
            endpoint = build_endpoint(service, pod, addresses, terminating=pod.uid in terminating)
            groups.setdefault(compute_ports(service, pod), []).append(endpoint)
    for number, (ports, endpoints) in enumerate(groups.items()):
        yield EndpointSlice(
            metadata=ObjectMeta(
                name=f"{service.metadata.name}-{family.lower()}-{number}",
                namespace=service.metadata.namespace,
                labels={SERVICE_NAME_LABEL: service.metadata.name},
            ),
            address_type=family,
            endpoints=tuple(endpoints),
            ports=ports,
        )


def _is_of_family(address: str, family: str) -> bool:
    return bool(address) and f"IPv{ip_address(address).version}" == family
