"""The caches that all controllers share: one for each kind, with the indexes that observations need.

No IO. Built by `controlplane.controllers.app`, read by every `observe` module.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from controlplane.controllers.cache import Cache
from controlplane.controllers.claim import get_controller
from controlplane.volume_matching import list_claim_keys
from kubeapi.apps import Deployment, ReplicaSet
from kubeapi.coordination import Lease
from kubeapi.core import ConfigMap, Namespace, Node, Service, ServiceAccount
from kubeapi.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kubeapi.meta import Object
from kubeapi.pod import Pod
from kubeapi.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STORAGE_CLASSES,
    Resource,
)
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass

BY_ORPHANAGE: Final = "orphanage"
"""Objects without a controller, by namespace."""
BY_NODE: Final = "node"
BY_CLAIM: Final = "claim"
"""Pods by the keys of the claims that they use."""
BY_LABEL: Final = "label"
"""By (namespace, label, value)."""
BY_SERVICE: Final = "service"
"""EndpointSlices by (namespace, Service name)."""
BY_SELECTOR: Final = "selector"
"""Services by one (namespace, label, value) of their selector."""

# Metadata is all that garbage collection needs: a secret's data isn't even decoded.
SECRET_METADATA: Final[Resource[Object]] = Resource(
    SECRETS.group, SECRETS.version, SECRETS.plural, SECRETS.kind, SECRETS.namespaced, Object
)


@dataclass(frozen=True, slots=True)
class Caches:
    pods: Cache[Pod]
    replica_sets: Cache[ReplicaSet]
    deployments: Cache[Deployment]
    services: Cache[Service]
    endpoint_slices: Cache[EndpointSlice]
    nodes: Cache[Node]
    leases: Cache[Lease]
    namespaces: Cache[Namespace]
    service_accounts: Cache[ServiceAccount]
    config_maps: Cache[ConfigMap]
    secrets: Cache[Object]
    volumes: Cache[PersistentVolume]
    claims: Cache[PersistentVolumeClaim]
    storage_classes: Cache[StorageClass]

    def each(self) -> tuple[Cache[Any], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def build_caches() -> Caches:
    return Caches(
        pods=Cache(
            PODS,
            {
                BY_ORPHANAGE: _index_orphanage,
                BY_NODE: lambda pod: (pod.spec.node_name,) if pod.spec.node_name else (),
                BY_LABEL: index_labels,
                BY_CLAIM: list_claim_keys,
            },
        ),
        replica_sets=Cache(REPLICA_SETS, {BY_ORPHANAGE: _index_orphanage}),
        deployments=Cache(DEPLOYMENTS),
        services=Cache(SERVICES, {BY_SELECTOR: index_selector}),
        endpoint_slices=Cache(ENDPOINT_SLICES, {BY_SERVICE: _index_service}),
        nodes=Cache(NODES),
        leases=Cache(LEASES),
        namespaces=Cache(NAMESPACES),
        service_accounts=Cache(SERVICE_ACCOUNTS),
        config_maps=Cache(CONFIG_MAPS),
        secrets=Cache(SECRET_METADATA),
        volumes=Cache(PERSISTENT_VOLUMES),
        claims=Cache(PERSISTENT_VOLUME_CLAIMS),
        storage_classes=Cache(STORAGE_CLASSES),
    )


def index_labels(object_: Object) -> Iterable[Hashable]:
    meta = object_.metadata
    return [(meta.namespace, name, value) for name, value in meta.labels.items()]


def index_selector(service: Service) -> Iterable[Hashable]:
    """One pair is enough to find the Service from a pod that it selects."""
    pairs = sorted(service.spec.selector.items())
    return [(service.metadata.namespace, *pairs[0])] if pairs else []


def _index_orphanage(object_: Object) -> Iterable[Hashable]:
    return (object_.metadata.namespace,) if get_controller(object_) is None else ()


def _index_service(slice_: EndpointSlice) -> Iterable[Hashable]:
    name = slice_.metadata.labels.get(SERVICE_NAME_LABEL)
    return ((slice_.metadata.namespace, name),) if name else ()
