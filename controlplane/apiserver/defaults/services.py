"""Defaults of Services.

Pure; changes the document it is given, which the caller has just made. Cluster IPs and node ports come later,
from allocation, which needs to know what is taken.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from controlplane.apiserver.openapi.schema import Document

_AFFINITY_SECONDS: Final = 10_800


def default_service(service: Document) -> None:
    """Defaults of a Service's spec and its empty status."""
    spec = service.setdefault("spec", {})
    spec["type"] = spec.get("type") or "ClusterIP"
    _default_affinity(spec)
    for port in spec.get("ports", ()):
        port["protocol"] = port.get("protocol") or "TCP"
        port["targetPort"] = port.get("targetPort") or port.get("port", 0)
    _default_traffic_policies(spec)
    if spec["type"] != "ExternalName":
        _default_addresses(spec)
    status = service.setdefault("status", {})
    status.setdefault("loadBalancer", {})


def _default_affinity(spec: Document) -> None:
    affinity = spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    if affinity == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", _AFFINITY_SECONDS)


def _default_traffic_policies(spec: Document) -> None:
    is_external = spec["type"] in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    if is_external and spec["type"] != "ExternalName" and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _default_addresses(spec: Document) -> None:
    """Address families, and the old singular clusterIP beside the list."""
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    if addresses:
        spec["clusterIPs"] = addresses
        spec.setdefault("clusterIP", addresses[0])
    if addresses == ["None"] and not spec.get("selector"):
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
        spec.setdefault("ipFamilies", ["IPv4", "IPv6"])
        return
    families = [_family_of(address) for address in addresses if address != "None"]
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    spec.setdefault("ipFamilies", families or ["IPv4"])


def _family_of(address: str) -> str:
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return "IPv4"  # validation names the malformed address
