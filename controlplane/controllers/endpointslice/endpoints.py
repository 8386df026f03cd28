"""One Service's endpoints as its pods give them: addresses, conditions, ports, place.

Pure. Called by `controlplane.controllers.endpointslice.plan`. Follows the EndpointSlices page of the
Kubernetes documentation (conditions) and the "DNS for Services and Pods" page (hostname).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from controlplane.controllers.pod_state import is_pod_finished, is_pod_ready
from kubeapi.core import ObjectReference, Service, ServicePort
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort
from kubeapi.pod import Pod

Ports = tuple[EndpointPort, ...]


def group_by_ports(
    service: Service, pods: Iterable[Pod], family: str, zones: Mapping[str, str]
) -> dict[Ports, dict[str, Endpoint]]:
    """The endpoints of one address family by pod UID, grouped by their ports: a named target port may be
    another number in each pod. `zones` by node name.
    """
    groups: dict[Ports, dict[str, Endpoint]] = {}
    for pod in pods:
        addresses = tuple(each.ip for each in pod.status.pod_ips if get_family(each.ip) == family)
        if addresses and not is_pod_finished(pod):
            group = groups.setdefault(compute_ports(service, pod), {})
            group[pod.metadata.uid] = _build_endpoint(service, pod, addresses, zones)
    return groups


def get_families(service: Service) -> tuple[str, ...]:
    return service.spec.ip_families or (get_family(service.spec.cluster_ip) or "IPv4",)


def get_family(address: str) -> str:
    """`IPv4`, `IPv6`, or empty for what is no address (None for headless Services, empty)."""
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return ""


def compute_ports(service: Service, pod: Pod) -> Ports:
    """A port whose name this pod doesn't know is left out."""
    found = ((port, _find_port_number(port, pod)) for port in service.spec.ports)
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        for port, number in found
        if number is not None
    )


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
            if each.name == target and (each.protocol or "TCP") == port.protocol
        ),
        None,
    )


def _build_endpoint(
    service: Service, pod: Pod, addresses: tuple[str, ...], zones: Mapping[str, str]
) -> Endpoint:
    serving = is_pod_ready(pod)
    terminating = pod.metadata.deletion_timestamp is not None
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=pod.spec.hostname if named else None,
        target_ref=ObjectReference(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid
        ),
        node_name=pod.spec.node_name or None,
        zone=zones.get(pod.spec.node_name) or None,
    )
