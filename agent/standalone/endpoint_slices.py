"""EndpointSlices of this node's Services, from its own pods' labels and readiness.

Pure. Called by `cluster` whenever a Service or a pod changed. Follows the EndpointSlices page of the
Kubernetes documentation (conditions) and the "DNS for Services and Pods" page (hostnames). A node holds few
pods, so a Service has one slice for each address family and set of port numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from kubeapi.core import ObjectReference, Service, ServicePort
from kubeapi.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.meta import ObjectMeta
from kubeapi.pod import Pod, PodUID

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
    groups: dict[tuple[EndpointPort, ...], list[Endpoint]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        addresses = tuple(each.ip for each in pod.status.pod_ips if _is_of_family(each.ip, family))
        if addresses:
            endpoint = _build_endpoint(service, pod, addresses, ends=pod.uid in terminating)
            groups.setdefault(tuple(_compute_ports(service, pod)), []).append(endpoint)
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


def _compute_ports(service: Service, pod: Pod) -> Iterator[EndpointPort]:
    """A port whose name this pod doesn't know is left out."""
    for port in service.spec.ports:
        number = _find_port_number(port, pod)
        if number is not None:
            yield EndpointPort(name=port.name, protocol=port.protocol, port=number)


def _find_port_number(port: ServicePort, pod: Pod) -> int | None:
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    sidecars = (each for each in pod.spec.init_containers if each.restart_policy == "Always")
    return next(
        (
            each.container_port
            for container in (*pod.spec.containers, *sidecars)
            for each in container.ports
            if each.name == target and each.protocol == port.protocol
        ),
        None,
    )


def _build_endpoint(service: Service, pod: Pod, addresses: tuple[str, ...], *, ends: bool) -> Endpoint:
    serving = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)
    ready = service.spec.publish_not_ready_addresses or (serving and not ends)
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=ends),
        hostname=pod.spec.hostname if named else None,
        target_ref=ObjectReference(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.uid
        ),
        node_name=pod.spec.node_name,
    )
