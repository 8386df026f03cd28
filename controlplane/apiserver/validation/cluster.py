"""Validation of the kinds the cluster itself writes: nodes, namespaces, endpoint slices, leases, events,
bindings.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from controlplane.apiserver.validation.containers import PROTOCOLS
from controlplane.apiserver.validation.metadata import IMMUTABLE, check_finalizers
from controlplane.apiserver.validation.names import (
    check_label,
    check_label_value,
    check_port_number,
    check_qualified_name,
    check_subdomain,
)
from controlplane.apiserver.validation.pods import IP_RULE, is_ip_address
from controlplane.apiserver.validation.resources import NOT_NEGATIVE
from controlplane.apiserver.validation.scheduling import TAINT_EFFECTS
from controlplane.apiserver.validation.services import is_network

_LONGEST_ADDRESS: Final = len("0000:0000:0000:0000:0000:0000:255.255.255.255")
_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")
_ENDPOINT_LIMIT: Final = 1000
_ADDRESS_LIMIT: Final = 100
_PORT_LIMIT: Final = 100
_CIDR_RULE: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def check_node(node: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Node: its taints and pod CIDRs."""
    spec = node.get("spec", {})
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints", ())):
        place = f"spec.taints[{index}]"
        yield from _check_taint(taint, place)
        pair = (taint.get("key", ""), taint.get("effect", ""))
        if pair in seen:
            yield duplicate(place, taint)
        seen.add(pair)
    for index, text in enumerate(spec.get("podCIDRs", ())):
        if not is_network(text):
            yield invalid(f"spec.podCIDRs[{index}]", text, _CIDR_RULE)


def _check_taint(taint: Mapping[str, Any], path: str) -> Iterator[Cause]:
    key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
    for problem in check_qualified_name(key):
        yield invalid(f"{path}.key", key, problem)
    for problem in check_label_value(value):
        yield invalid(f"{path}.value", value, problem)
    if not effect:
        yield required(f"{path}.effect")
    elif effect not in TAINT_EFFECTS:
        yield not_supported(f"{path}.effect", effect, TAINT_EFFECTS)


def check_node_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of a Node that may not happen: a pod CIDR and a provider ID are set once."""
    after, before = new.get("spec", {}), old.get("spec", {})
    if before.get("podCIDRs") and after.get("podCIDRs", []) != before["podCIDRs"]:
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.get("providerID") and after.get("providerID", "") != before["providerID"]:
        yield forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def check_namespace(namespace: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Namespace: its finalizers' names."""
    yield from check_finalizers(namespace.get("spec", {}).get("finalizers", ()), "spec.finalizers")


def check_endpoint_slice(endpoint_slice: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of an EndpointSlice."""
    kind = endpoint_slice.get("addressType", "")
    if not kind:
        yield required("addressType")
    elif kind not in _ADDRESS_TYPES:
        yield not_supported("addressType", kind, _ADDRESS_TYPES)
    endpoints, ports = endpoint_slice.get("endpoints", ()), endpoint_slice.get("ports", ())
    if len(endpoints) > _ENDPOINT_LIMIT:
        yield too_many("endpoints", len(endpoints), _ENDPOINT_LIMIT)
        return
    for index, endpoint in enumerate(endpoints):
        yield from _check_endpoint(endpoint.get("addresses", ()), kind, f"endpoints[{index}].addresses")
    if len(ports) > _PORT_LIMIT:
        yield too_many("ports", len(ports), _PORT_LIMIT)
        return
    yield from _check_endpoint_ports(ports)


def _check_endpoint(addresses: list[str], kind: str, path: str) -> Iterator[Cause]:
    if not addresses:
        yield required(path, "must contain at least 1 address")
    elif len(addresses) > _ADDRESS_LIMIT:
        yield too_many(path, len(addresses), _ADDRESS_LIMIT)
    for index, address in enumerate(addresses):
        place = f"{path}[{index}]"
        if kind == "FQDN":
            for problem in check_subdomain(address):
                yield invalid(place, address, problem)
        elif kind in _ADDRESS_TYPES and not _is_address_of(address, kind):
            yield invalid(place, address, f"must be a valid {kind} address")


def _is_address_of(text: str, kind: str) -> bool:
    return len(text) <= _LONGEST_ADDRESS and _find_address_type(text) == kind


@lru_cache(4096)
def _find_address_type(text: str) -> str:
    """Remembered: every change of a slice names all its other addresses again."""
    return f"IPv{ip_address(text).version}" if is_ip_address(text) else ""


def _check_endpoint_ports(ports: list[Mapping[str, Any]]) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        place, name = f"ports[{index}]", port.get("name", "")
        if name in names:
            yield duplicate(f"{place}.name", name)
        names.add(name)
        for problem in check_label(name) if name else ():
            yield invalid(f"{place}.name", name, problem)
        if port.get("protocol", "TCP") not in PROTOCOLS:
            yield not_supported(f"{place}.protocol", port["protocol"], PROTOCOLS)
        for problem in check_port_number(port["port"]) if "port" in port else ():
            yield invalid(f"{place}.port", port["port"], problem)


def check_endpoint_slice_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """An EndpointSlice keeps its address type."""
    if new.get("addressType") != old.get("addressType"):
        yield invalid("addressType", new.get("addressType", ""), IMMUTABLE)


def check_endpoints(endpoints: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of an Endpoints object."""
    for index, subset in enumerate(endpoints.get("subsets", ())):
        place = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(place, "must specify `addresses` or `notReadyAddresses`")
        for name in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(name, ())):
                if not is_ip_address(address.get("ip", "")):
                    yield invalid(f"{place}.{name}[{number}].ip", address.get("ip", ""), IP_RULE)
        ports = subset.get("ports", ())
        for number, port in enumerate(ports):
            if len(ports) > 1 and not port.get("name"):
                yield required(f"{place}.ports[{number}].name")
            for problem in check_port_number(port.get("port", 0)):
                yield invalid(f"{place}.ports[{number}].port", port.get("port", 0), problem)


def check_lease(lease: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Lease."""
    spec = lease.get("spec", {})
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        yield invalid("spec.leaseTransitions", spec["leaseTransitions"], NOT_NEGATIVE)


def check_event(event: Mapping[str, Any]) -> Iterator[Cause]:
    """An event lies in the namespace of its object, or in default for an object that has none."""
    regarding = event.get("involvedObject", {}).get("namespace", "")
    allowed = (regarding,) if regarding else ("default", "kube-system")
    if event.get("metadata", {}).get("namespace", "") not in allowed:
        yield invalid("involvedObject.namespace", regarding, "does not match event.namespace")


def check_binding(binding: Mapping[str, Any]) -> Iterator[Cause]:
    """A binding names the node it binds to."""
    target = binding.get("target", {})
    if target.get("kind", "Node") not in ("", "Node", "Minion"):
        yield not_supported("target.kind", target["kind"], ("Node", "<empty>"))
    if not target.get("name"):
        yield required("target.name")
