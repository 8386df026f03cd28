"""Defaults of the kinds that need only a line or two: secrets, namespaces, nodes, endpoints,
priority classes.

Pure; changes the documents it is given, which the caller has just made.
"""

from __future__ import annotations

import base64
from typing import Final

from controlplane.apiserver.openapi.schema import Document

_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def default_secret(secret: Document) -> None:
    """The type, and stringData folded into data: it is for writing only."""
    secret["type"] = secret.get("type") or "Opaque"
    plain = secret.pop("stringData", {})
    if plain:
        encoded = {
            key: base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
            for key, text in plain.items()
        }
        secret["data"] = {**secret.get("data", {}), **encoded}


def default_namespace(namespace: Document) -> None:
    """The name label, the first phase, and the finalizer that empties the namespace before it goes."""
    metadata = namespace["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**metadata.get("labels", {}), _NAME_LABEL: metadata["name"]}
    is_deleted = "deletionTimestamp" in metadata
    spec = namespace.setdefault("spec", {})
    if not is_deleted and not spec.get("finalizers"):
        spec["finalizers"] = ["kubernetes"]
    namespace.setdefault("status", {}).setdefault("phase", "Terminating" if is_deleted else "Active")


def default_node(node: Document) -> None:
    """Allocatable is all there is, and the old singular podCIDR stands beside the list."""
    spec = node.setdefault("spec", {})
    networks = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    if networks:
        spec["podCIDRs"], spec["podCIDR"] = networks, networks[0]
    status = node.setdefault("status", {})
    if status.get("capacity") and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])


def default_endpoints(endpoints: Document) -> None:
    """A port's protocol."""
    for subset in endpoints.get("subsets", ()):
        for port in subset.get("ports", ()):
            port.setdefault("protocol", "TCP")


def default_endpoint_slice(endpoint_slice: Document) -> None:
    """A port's name and protocol."""
    endpoint_slice.setdefault("endpoints", [])
    endpoint_slice.setdefault("ports", [])
    for port in endpoint_slice["ports"]:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_priority_class(priority_class: Document) -> None:
    """Pods of a class may push away pods of lower priority."""
    priority_class.setdefault("preemptionPolicy", "PreemptLowerPriority")
