"""Validation of Services.

Pure. Ranges and collisions of cluster IPs and node ports are allocation's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from controlplane.apiserver.validation.containers import PROTOCOLS
from controlplane.apiserver.validation.metadata import check_labels
from controlplane.apiserver.validation.names import (
    check_label,
    check_port_number,
    check_qualified_name,
    check_subdomain,
)
from controlplane.apiserver.validation.pods import IP_RULE, is_ip_address
from controlplane.apiserver.validation.probes import check_port

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_LONGEST_AFFINITY_SECONDS: Final = 86_400
_CIDR_RULE: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def check_service(service: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Service's spec."""
    spec = service.get("spec", {})
    if spec.get("type", "ClusterIP") not in _TYPES:
        yield not_supported("spec.type", spec["type"], _TYPES)
    yield from _check_ports(spec)
    yield from check_labels(spec.get("selector", {}), "spec.selector")
    yield from _check_affinity(spec)
    yield from _check_addresses(spec)
    yield from _check_external_name(spec)
    yield from _check_traffic_policies(spec)


def check_service_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of a Service that may not happen: a cluster IP stays while the Service has one.

    An update that leaves it out gets the old one back from allocation.
    """
    after, before = new.get("spec", {}), old.get("spec", {})
    if "ExternalName" in (after.get("type"), before.get("type")):
        return
    had, has = _cluster_addresses(before), _cluster_addresses(after)
    if had and has and has[0] != had[0]:
        yield invalid("spec.clusterIPs[0]", has, "may not change once set")


def _cluster_addresses(spec: Mapping[str, Any]) -> list[str]:
    return spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])


def _is_headless(spec: Mapping[str, Any]) -> bool:
    return _cluster_addresses(spec) == ["None"]


def _check_ports(spec: Mapping[str, Any]) -> Iterator[Cause]:
    ports = spec.get("ports", ())
    if not ports and not _is_headless(spec) and spec.get("type") != "ExternalName":
        yield required("spec.ports")
    names: set[str] = set()
    claims: set[tuple[str, str, int]] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        yield from _check_port_name(port.get("name", ""), len(ports) > 1, names, place)
        yield from _check_port(port, spec, place)
        yield from _check_claims(port, claims, place)


def _check_port_name(name: str, is_needed: bool, seen: set[str], path: str) -> Iterator[Cause]:
    if not name:
        if is_needed:
            yield required(f"{path}.name")
        return
    for problem in check_label(name):
        yield invalid(f"{path}.name", name, problem)
    if name in seen:
        yield duplicate(f"{path}.name", name)
    seen.add(name)


def _check_port(port: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for problem in check_port_number(port.get("port", 0)):
        yield invalid(f"{path}.port", port.get("port", 0), problem)
    if port.get("protocol", "TCP") not in PROTOCOLS:
        yield not_supported(f"{path}.protocol", port["protocol"], PROTOCOLS)
    yield from check_port(port.get("targetPort", port.get("port", 0)), f"{path}.targetPort")
    for problem in check_qualified_name(port["appProtocol"]) if port.get("appProtocol") else ():
        yield invalid(f"{path}.appProtocol", port["appProtocol"], problem)
    if port.get("nodePort"):
        for problem in check_port_number(port["nodePort"]):
            yield invalid(f"{path}.nodePort", port["nodePort"], problem)
        if spec.get("type", "ClusterIP") == "ClusterIP":
            yield forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")


def _check_claims(port: Mapping[str, Any], claims: set[tuple[str, str, int]], path: str) -> Iterator[Cause]:
    """A port and a node port belong to one entry for each protocol."""
    protocol = port.get("protocol", "TCP")
    for field, place in (("port", path), ("nodePort", f"{path}.nodePort")):
        claim = (field, protocol, port.get(field, 0))
        if claim[2] and claim in claims:
            yield duplicate(place, {"protocol": protocol, field: port[field]})
        claims.add(claim)


def _check_affinity(spec: Mapping[str, Any]) -> Iterator[Cause]:
    affinity = spec.get("sessionAffinity", "None")
    if affinity not in ("ClientIP", "None"):
        yield not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    seconds = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 1)
    if affinity == "ClientIP" and not 0 < seconds <= _LONGEST_AFFINITY_SECONDS:
        yield invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            seconds,
            f"must be greater than 0 and less than {_LONGEST_AFFINITY_SECONDS}",
        )


def _check_addresses(spec: Mapping[str, Any]) -> Iterator[Cause]:
    addresses = _cluster_addresses(spec)
    kind = spec.get("type", "ClusterIP")
    if addresses and spec.get("clusterIP", addresses[0]) != addresses[0]:
        yield invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    if kind == "ExternalName" and addresses:
        yield forbidden("spec.clusterIPs[0]", "may not be set for ExternalName services")
    if _is_headless(spec):
        if kind in ("NodePort", "LoadBalancer"):
            yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
        addresses = []
    for index, address in enumerate(addresses):
        if not is_ip_address(address):
            yield invalid(f"spec.clusterIPs[{index}]", address, IP_RULE)
    for index, address in enumerate(spec.get("externalIPs", ())):
        yield from _check_external_address(address, f"spec.externalIPs[{index}]")
    for index, text in enumerate(spec.get("loadBalancerSourceRanges", ())):
        if not is_network(text.strip()):
            yield invalid(f"spec.loadBalancerSourceRanges[{index}]", text, _CIDR_RULE)


def _check_external_address(text: str, path: str) -> Iterator[Cause]:
    if not is_ip_address(text):
        yield invalid(path, text, IP_RULE)
        return
    address = ip_address(text)
    for holds, rule in (
        (address.is_unspecified, f"may not be unspecified ({text})"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address.is_multicast, "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
    ):
        if holds:
            yield invalid(path, text, rule)


def _check_external_name(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if spec.get("type") != "ExternalName":
        return
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    for problem in check_subdomain(name) if name else ():
        yield invalid("spec.externalName", spec["externalName"], problem)


def _check_traffic_policies(spec: Mapping[str, Any]) -> Iterator[Cause]:
    policies = ("Cluster", "Local")
    for name in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if spec.get(name) and spec[name] not in policies:
            yield not_supported(f"spec.{name}", spec[name], policies)
    is_external = spec.get("type") in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not is_external:
        yield invalid(
            "spec.externalTrafficPolicy",
            spec["externalTrafficPolicy"],
            "may only be set for externally-accessible services",
        )


def is_network(text: str) -> bool:
    """Whether the text is a CIDR."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
