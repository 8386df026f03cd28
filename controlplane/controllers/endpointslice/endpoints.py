"""One Service's endpoints as its pods give them: addresses, conditions, ports, place.

Pure. Called by `controlplane.controllers.endpointslice.plan`. Follows the EndpointSlices page of the
Kubernetes documentation (conditions) and the "DNS for Services and Pods" page (hostname).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from controlplane.controllers.pod_state import is_pod_finished
from kubeapi.core import Service
from kubeapi.discovery import Endpoint
from kubeapi.pod import Pod
from kubeapi.service_endpoints import Ports, build_endpoint, compute_ports


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
            terminating = pod.metadata.deletion_timestamp is not None
            zone = zones.get(pod.spec.node_name)
            group[pod.metadata.uid] = build_endpoint(
                service, pod, addresses, terminating=terminating, zone=zone
            )
    return groups


def get_families(service: Service) -> tuple[str, ...]:
    return service.spec.ip_families or (get_family(service.spec.cluster_ip) or "IPv4",)


def get_family(address: str) -> str:
    """`IPv4`, `IPv6`, or empty for what is no address (None for headless Services, empty)."""
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return ""
