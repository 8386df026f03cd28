"""The columns of every kind but pods and the storage kinds.

Pure; the time is an argument. Follows what `kubectl get` shows with an upstream server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from controlplane.apiserver.printing.cells import (
    NONE,
    UNKNOWN,
    format_age,
    format_few,
    format_labels,
    format_selector,
)

_ROLE_PREFIX: Final = "node-role.kubernetes.io/"
_ROLE_LABEL: Final = "kubernetes.io/role"


def _name(document: Mapping[str, Any]) -> str:
    return str(document["metadata"].get("name", ""))


def _age(document: Mapping[str, Any], now: datetime) -> str:
    return format_age(document["metadata"].get("creationTimestamp"), now)


def list_plain_cells(document: Mapping[str, Any], now: datetime) -> list[Any]:
    """Name and age: a kind without columns of its own."""
    return [_name(document), _age(document, now)]


def list_node_cells(node: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Node."""
    status = node.get("status", {})
    info, addresses = status.get("nodeInfo", {}), status.get("addresses", ())
    return [
        _name(node),
        _format_node_status(node),
        ",".join(_list_roles(node["metadata"].get("labels", {}))) or NONE,
        _age(node, now),
        info.get("kubeletVersion", ""),
        _find_address(addresses, "InternalIP"),
        _find_address(addresses, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _format_node_status(node: Mapping[str, Any]) -> str:
    ready = [item for item in node.get("status", {}).get("conditions", ()) if item.get("type") == "Ready"]
    words = ["Ready" if item.get("status") == "True" else "NotReady" for item in ready] or ["Unknown"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _list_roles(labels: Mapping[str, str]) -> list[str]:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    return sorted((roles | {labels.get(_ROLE_LABEL, "")}) - {""})


def _find_address(addresses: Sequence[Mapping[str, Any]], kind: str) -> str:
    return next((item["address"] for item in addresses if item.get("type") == kind), NONE)


def list_service_cells(service: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Service."""
    spec = service.get("spec", {})
    addresses = spec.get("clusterIPs", ())
    return [
        _name(service),
        spec.get("type", ""),
        addresses[0] if addresses else NONE,
        _format_external_address(service),
        ",".join(_format_port(port) for port in spec.get("ports", ())) or NONE,
        _age(service, now),
        format_labels(spec.get("selector", {})),
    ]


def _format_port(port: Mapping[str, Any]) -> str:
    number, protocol = port.get("port", 0), port.get("protocol", "")
    return f"{number}:{port['nodePort']}/{protocol}" if port.get("nodePort") else f"{number}/{protocol}"


def _format_external_address(service: Mapping[str, Any]) -> str:
    spec = service.get("spec", {})
    external = list(spec.get("externalIPs", ()))
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", ())
            balanced = sorted({str(item.get("ip") or item.get("hostname") or "") for item in ingress} - {""})
            return ",".join([*balanced, *external]) or "<pending>"
        case _:
            return ",".join(external) or NONE


def list_deployment_cells(deployment: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Deployment."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    return [
        _name(deployment),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(deployment, now),
        *_list_template_cells(spec),
    ]


def list_replica_set_cells(replica_set: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a ReplicaSet."""
    spec, status = replica_set.get("spec", {}), replica_set.get("status", {})
    return [
        _name(replica_set),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _age(replica_set, now),
        *_list_template_cells(spec),
    ]


def _list_template_cells(spec: Mapping[str, Any]) -> list[str]:
    containers = spec.get("template", {}).get("spec", {}).get("containers", ())
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        format_selector(spec.get("selector")),
    ]


def list_namespace_cells(namespace: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Namespace."""
    return [_name(namespace), namespace.get("status", {}).get("phase", ""), _age(namespace, now)]


def list_config_map_cells(config_map: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a ConfigMap."""
    count = len(config_map.get("data", {})) + len(config_map.get("binaryData", {}))
    return [_name(config_map), count, _age(config_map, now)]


def list_secret_cells(secret: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Secret: its type and how many keys it has."""
    return [_name(secret), secret.get("type", ""), len(secret.get("data", {})), _age(secret, now)]


def list_service_account_cells(account: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a ServiceAccount."""
    return [_name(account), len(account.get("secrets", ())), _age(account, now)]


def list_endpoint_slice_cells(endpoint_slice: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of an EndpointSlice."""
    ports = [str(port.get("port") or port.get("name") or "*") for port in endpoint_slice.get("ports", ())]
    endpoints = endpoint_slice.get("endpoints", ())
    addresses = [address for endpoint in endpoints for address in endpoint.get("addresses", ())]
    return [
        _name(endpoint_slice),
        endpoint_slice.get("addressType", ""),
        format_few(ports),
        format_few(addresses),
        _age(endpoint_slice, now),
    ]


def list_endpoints_cells(endpoints: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of an Endpoints object: every address with every port of its subset."""
    pairs = [
        f"{address.get('ip', '')}:{port.get('port', 0)}"
        for subset in endpoints.get("subsets", ())
        for port in subset.get("ports", ())
        for address in subset.get("addresses", ())
    ]
    return [_name(endpoints), format_few(pairs) if pairs else NONE, _age(endpoints, now)]


def list_lease_cells(lease: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a Lease."""
    return [_name(lease), lease.get("spec", {}).get("holderIdentity", ""), _age(lease, now)]


def list_runtime_class_cells(runtime_class: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a RuntimeClass."""
    return [_name(runtime_class), runtime_class.get("handler", ""), _age(runtime_class, now)]


def list_priority_class_cells(priority_class: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a PriorityClass."""
    return [
        _name(priority_class),
        priority_class.get("value", 0),
        priority_class.get("globalDefault", False),
        _age(priority_class, now),
        priority_class.get("preemptionPolicy", ""),
    ]


def list_event_cells(event: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of an Event, in its old and its new form."""
    regarding, source, series = (event.get(name, {}) for name in ("involvedObject", "source", "series"))
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    kind, name = regarding.get("kind", "").lower(), regarding.get("name", "")
    component = source.get("component") or event.get("reportingComponent", "")
    instance = source.get("host") or event.get("reportingInstance", "")
    return [
        format_age(last, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        regarding.get("fieldPath", ""),
        f"{component}, {instance}" if instance else component,
        event.get("message", "").strip(),
        format_age(first, now),
        series.get("count") or event.get("count") or 1,
        _name(event),
    ]
