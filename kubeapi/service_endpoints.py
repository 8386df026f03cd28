"""What one pod is as an endpoint of a Service: its ports, conditions and hostname.

Pure. Used by whoever writes EndpointSlices: the controller, and a node without an API server. Follows the
EndpointSlices page of the Kubernetes documentation (conditions) and the "DNS for Services and Pods" page
(hostname).
"""

from __future__ import annotations

from kubeapi.core import ObjectReference, Service, ServicePort
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort
from kubeapi.pod import Pod

Ports = tuple[EndpointPort, ...]


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


def build_endpoint(
    service: Service, pod: Pod, addresses: tuple[str, ...], *, terminating: bool, zone: str | None = None
) -> Endpoint:
    """The pod at these addresses of one family; `terminating`: it is about to end."""
    serving = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)
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
        zone=zone or None,
    )
