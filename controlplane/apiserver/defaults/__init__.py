"""Fills in what a user left out of an object, as the API's defaulting does.

Pure. Called by the API server on every write, after a patch and before validation; applying it twice changes
nothing. What needs the cluster's state (cluster IPs, node ports, service accounts) is admission's and
allocation's work. Follows the "defaults to" notes of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from controlplane.apiserver.defaults.containers import choose_image_pull_policy
from controlplane.apiserver.defaults.kinds import (
    default_endpoint_slice,
    default_endpoints,
    default_namespace,
    default_node,
    default_priority_class,
    default_secret,
)
from controlplane.apiserver.defaults.pods import default_pod
from controlplane.apiserver.defaults.quality_of_service import compute_qos_class
from controlplane.apiserver.defaults.services import default_service
from controlplane.apiserver.defaults.storage import (
    default_persistent_volume,
    default_persistent_volume_claim,
    default_storage_class,
)
from controlplane.apiserver.defaults.workloads import default_deployment, default_replica_set
from controlplane.apiserver.openapi.conform import conform_document
from controlplane.apiserver.openapi.schema import Document

__all__ = ["apply_defaults", "choose_image_pull_policy", "compute_qos_class", "fill_defaults"]

_DEFAULTERS: Final[Mapping[str, Callable[[Document], None]]] = MappingProxyType(
    {
        "Pod": default_pod,
        "Service": default_service,
        "Deployment": default_deployment,
        "ReplicaSet": default_replica_set,
        "Secret": default_secret,
        "Namespace": default_namespace,
        "Node": default_node,
        "EndpointSlice": default_endpoint_slice,
        "Endpoints": default_endpoints,
        "PersistentVolume": default_persistent_volume,
        "PersistentVolumeClaim": default_persistent_volume_claim,
        "StorageClass": default_storage_class,
        "PriorityClass": default_priority_class,
    }
)


def apply_defaults(kind_name: str, document: Document) -> Document:
    """A new document with all defaults, unknown fields dropped, quantities and times in canonical form.

    A document with a value of the wrong type comes back as it is: validation names the field.
    """
    conformed = conform_document(kind_name, document)
    return document if conformed.mismatches else fill_defaults(kind_name, conformed.document)


def fill_defaults(kind_name: str, conformed: Document) -> Document:
    """The document itself, which conforms to its schema and now has all defaults."""
    conformed.setdefault("metadata", {})
    defaulter = _DEFAULTERS.get(kind_name)
    if defaulter is not None:
        defaulter(conformed)
    return conformed
