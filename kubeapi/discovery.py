"""EndpointSlices (discovery.k8s.io/v1) as frozen views.

Pure. Follows the EndpointSlice page of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubeapi.core import ObjectReference
from kubeapi.meta import Object, View

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"


class EndpointConditions(View, frozen=True, kw_only=True):
    """None means unknown, which consumers read as ready, serving, and not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(View, frozen=True, kw_only=True):
    name: str = ""


class EndpointHints(View, frozen=True, kw_only=True):
    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForZone, ...] = ()


class Endpoint(View, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None
    deprecated_topology: Mapping[str, str] = {}


class EndpointPort(View, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True, kw_only=True):
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
