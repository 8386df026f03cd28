"""What a Service and its EndpointSlices ask of this node's rules.

Pure. One Service at a time, so that a change costs what that Service costs. Called by the proxy; the answer
goes to `netrules`, which knows nothing of Services. Follows the "Virtual IPs and Service Proxies" page of the
Kubernetes documentation: ready endpoints, or those that still serve while they terminate when there are no
others; internal and external traffic policies; named ports by EndpointSlice port name. A pod of this node
that ends counts as terminating at once, before its slices say so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from agent.pods.ports import HostPort, RunningPod
from kubeapi.core import Service, ServicePort
from kubeapi.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointSlice
from kubeapi.meta import ObjectKey
from kubeapi.pod import PodUID
from netrules.model import Family, Protocol
from netrules.services import Backend, HostPortIntent, Intent, ServiceIntent

PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"

_ADDRESS_TYPES: Final = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_ANY_ADDRESS: Final = ("", "0.0.0.0", "::")
_WITH_NODE_PORTS: Final = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class ProxyNode:
    """This node: its name, and the address on which it answers cluster DNS itself."""

    name: str
    cluster_dns: str = ""


def find_service_key(endpoint_slice: EndpointSlice) -> ObjectKey | None:
    """The Service the slice belongs to; None for slices that no proxy has use for."""
    labels = endpoint_slice.metadata.labels
    name = labels.get(SERVICE_NAME_LABEL, "")
    if not name or HEADLESS_LABEL in labels:
        return None
    return ObjectKey(endpoint_slice.metadata.namespace, name)


def is_proxied(service: Service) -> bool:
    """Whether rules are wanted for it: not for headless ones and external names, nor another proxy's."""
    spec = service.spec
    return (
        spec.type != "ExternalName"
        and spec.cluster_ip not in ("", "None")
        and PROXY_NAME_LABEL not in service.metadata.labels
    )


def plan_service(
    service: Service,
    slices: Iterable[EndpointSlice],
    node: ProxyNode,
    family: Family,
    draining: Collection[PodUID] = (),
) -> tuple[Intent, ...]:
    """The intents of one Service in one family, one for each port; `draining`: pods of this node that end."""
    if not is_proxied(service):
        return ()
    cluster_addresses = _of_family(service.spec.cluster_ips or (service.spec.cluster_ip,), family)
    if not cluster_addresses:
        return ()
    usable = tuple(s for s in slices if s.address_type == _ADDRESS_TYPES[family])
    if draining and not service.spec.publish_not_ready_addresses:
        usable = tuple(_mark_draining(s, draining) for s in usable)
    intents = (
        _plan_port(service, port, cluster_addresses, usable, node, family) for port in service.spec.ports
    )
    return tuple(intent for intent in intents if intent and not _is_served_here(intent, node))


def _mark_draining(endpoint_slice: EndpointSlice, draining: Collection[PodUID]) -> EndpointSlice:
    endpoints = tuple(
        _as_terminating(endpoint) if endpoint.target_ref and endpoint.target_ref.uid in draining else endpoint
        for endpoint in endpoint_slice.endpoints
    )
    return msgspec.structs.replace(endpoint_slice, endpoints=endpoints)


def _as_terminating(endpoint: Endpoint) -> Endpoint:
    conditions = endpoint.conditions
    serving = conditions.ready if conditions.serving is None else conditions.serving
    terminating = EndpointConditions(ready=False, serving=serving, terminating=True)
    return msgspec.structs.replace(endpoint, conditions=terminating)


def _is_served_here(intent: ServiceIntent, node: ProxyNode) -> bool:
    """Cluster DNS without pods behind it is the node's own: not rejected, and left alone."""
    return not intent.endpoints and node.cluster_dns in intent.cluster_addresses


def _plan_port(
    service: Service,
    port: ServicePort,
    cluster_addresses: tuple[str, ...],
    slices: tuple[EndpointSlice, ...],
    node: ProxyNode,
    family: Family,
) -> ServiceIntent | None:
    if port.protocol not in Protocol.__members__:
        return None
    spec = service.spec
    everywhere, here = _choose_endpoints(slices, port, node)
    stays_outside = spec.external_traffic_policy == "Local"
    inside = here if spec.internal_traffic_policy == "Local" else everywhere
    outside = here if stays_outside else everywhere
    return ServiceIntent(
        name=build_port_name(service.key, port.name),
        protocol=Protocol[port.protocol],
        port=port.port,
        cluster_addresses=cluster_addresses,
        node_port=port.node_port if spec.type in _WITH_NODE_PORTS else 0,
        external_addresses=_external_addresses(service, family),
        endpoints=inside,
        external_endpoints=None if outside == inside else outside,
        preserve_client=stays_outside,
    )


def build_port_name(service: ObjectKey, port_name: str) -> str:
    """How kube-proxy names a Service port: namespace/name:port, without the colon for a port with no name."""
    return f"{service}:{port_name}" if port_name else str(service)


def _external_addresses(service: Service, family: Family) -> tuple[str, ...]:
    addresses = list(service.spec.external_ips)
    if service.spec.type == "LoadBalancer":
        ingress = service.status.load_balancer.ingress
        addresses += [entry.ip for entry in ingress if entry.ip and entry.ip_mode != "Proxy"]
    return _of_family(tuple(dict.fromkeys(addresses)), family)


def _of_family(addresses: Iterable[str], family: Family) -> tuple[str, ...]:
    return tuple(a for a in addresses if a and (":" in a) is (family is Family.IPV6))


def _choose_endpoints(
    slices: tuple[EndpointSlice, ...], port: ServicePort, node: ProxyNode
) -> tuple[tuple[Backend, ...], tuple[Backend, ...]]:
    """(of the whole cluster, of this node only); each falls back to terminating endpoints on its own."""
    found = tuple(_port_endpoints(slices, port))
    here = tuple((endpoint, number) for endpoint, number in found if endpoint.node_name == node.name)
    return _backends(_usable(found), node), _backends(_usable(here), node)


_Found = tuple[tuple[Endpoint, int], ...]


def _port_endpoints(slices: tuple[EndpointSlice, ...], port: ServicePort) -> Iterator[tuple[Endpoint, int]]:
    for endpoint_slice in slices:
        for slice_port in endpoint_slice.ports:
            if slice_port.name != port.name or slice_port.protocol != port.protocol or not slice_port.port:
                continue
            for endpoint in endpoint_slice.endpoints:
                if endpoint.addresses:
                    yield endpoint, slice_port.port


def _usable(found: _Found) -> _Found:
    ready = tuple(item for item in found if item[0].conditions.ready is not False)
    return ready or tuple(item for item in found if _serves_while_terminating(item[0]))


def _serves_while_terminating(endpoint: Endpoint) -> bool:
    conditions = endpoint.conditions
    serving = conditions.ready if conditions.serving is None else conditions.serving
    return serving is not False and conditions.terminating is True


def _backends(found: _Found, node: ProxyNode) -> tuple[Backend, ...]:
    """Sorted, each target once; slices may list an endpoint twice while they are rearranged."""
    targets: dict[tuple[str, int], Backend] = {}
    for endpoint, number in found:
        local = endpoint.node_name in (None, "", node.name)
        targets[endpoint.addresses[0], number] = Backend(endpoint.addresses[0], number, local)
    return tuple(targets[key] for key in sorted(targets))


def plan_host_ports(pod: RunningPod, family: Family) -> tuple[Intent, ...]:
    """The host ports of one pod; a pod in the host's network has them already."""
    addresses = _of_family(pod.pod_ips, family)
    if pod.host_network or not addresses:
        return ()
    planned = (_plan_host_port(pod, port, addresses[0], family) for port in pod.host_ports)
    return tuple(intent for intent in planned if intent)


def _plan_host_port(pod: RunningPod, port: HostPort, pod_ip: str, family: Family) -> HostPortIntent | None:
    host_address = "" if port.host_ip in _ANY_ADDRESS else port.host_ip
    if port.protocol not in Protocol.__members__ or (
        host_address and not _of_family((host_address,), family)
    ):
        return None
    return HostPortIntent(
        name=f"{pod.key} host port {port.host_port} {port.host_ip}".strip(),
        protocol=Protocol[port.protocol],
        host_address=host_address,
        host_port=port.host_port,
        backend=Backend(pod_ip, port.container_port),
    )
