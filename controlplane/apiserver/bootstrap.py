"""What exists in every cluster before anybody asks: system namespaces and priorities, the Service of the
API server itself.

IO through the registry. `server` calls it at each start and keeps `run_repairs` running, since people
delete these like any other object; what is there already is left alone, but for the endpoints, which always
say where this server is now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import ApiFailure
from controlplane.apiserver.kinds import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    PRIORITY_CLASS,
    SERVICE,
    Kind,
)
from controlplane.apiserver.registry import Registry
from controlplane.apiserver.validation.classes import SYSTEM_PRIORITIES
from controlplane.storage.errors import StorageError
from kubeapi.status import Reason

logger = logging.getLogger(__name__)

SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
API_SERVICE: Final = "kubernetes"
REPAIR_PERIOD_SECONDS: Final = 10.0
_PORT_NAME: Final = "https"
_PRIORITY_DESCRIPTIONS: Final = {
    "system-cluster-critical": (
        "Used for system critical pods that must run in the cluster, but can be moved to another node if "
        "necessary."
    ),
    "system-node-critical": ("Used for system critical pods that must not be moved from their current node."),
}


@dataclass(frozen=True, slots=True)
class ApiServiceAddress:
    """Where pods find the API server: `service_ip`, which leads to `host` and `port`."""

    service_ip: str
    host: str
    port: int

    @property
    def family(self) -> str:
        return "IPv6" if ":" in self.host else "IPv4"


async def ensure_cluster(registry: Registry, address: ApiServiceAddress) -> None:
    """Create what is missing, correct what says where the server is."""
    for name in SYSTEM_NAMESPACES:
        await _ensure(registry, NAMESPACE, "", {"metadata": {"name": name}})
    for name, value in SYSTEM_PRIORITIES.items():
        await _ensure(registry, PRIORITY_CLASS, "", build_priority_class(name, value))
    await _ensure(registry, SERVICE, "default", build_api_service(address))
    await _ensure(registry, ENDPOINTS, "default", build_api_endpoints(address), content=("subsets",))
    await _ensure(
        registry,
        ENDPOINT_SLICE,
        "default",
        build_api_endpoint_slice(address),
        content=("endpoints", "ports"),
    )


async def run_repairs(
    registry: Registry, address: ApiServiceAddress, period_seconds: float = REPAIR_PERIOD_SECONDS
) -> None:
    """Until cancelled: each time, put right what somebody changed; writes nothing where all is well."""
    while True:
        await asyncio.sleep(period_seconds)
        try:
            await ensure_cluster(registry, address)
        except (ApiFailure, StorageError) as error:
            # A system namespace on its way out refuses new objects: the next round makes it anew.
            logger.info("the cluster's own objects are not restored yet", extra={"error": str(error)})


async def _ensure(
    registry: Registry,
    kind: Kind,
    namespace: str,
    document: Mapping[str, Any],
    content: tuple[str, ...] = (),
) -> None:
    """Create, or set the fields of `content` on what exists."""
    try:
        await registry.create(kind, namespace, document)
    except ApiFailure as failure:
        if failure.status.reason != Reason.ALREADY_EXISTS:
            raise
        if content:
            fields = {name: document[name] for name in content}
            name = document["metadata"]["name"]
            await registry.modify(kind, namespace, name, lambda current: {**current, **fields})


def build_priority_class(name: str, value: int) -> Document:
    return {
        "metadata": {"name": name},
        "value": value,
        "preemptionPolicy": "PreemptLowerPriority",
        "description": _PRIORITY_DESCRIPTIONS[name],
    }


def build_api_service(address: ApiServiceAddress) -> Document:
    return {
        "metadata": {
            "name": API_SERVICE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.service_ip,
            "ports": [{"name": _PORT_NAME, "port": 443, "protocol": "TCP", "targetPort": address.port}],
        },
    }


def build_api_endpoints(address: ApiServiceAddress) -> Document:
    return {
        "metadata": {
            "name": API_SERVICE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": address.host}],
                "ports": [{"name": _PORT_NAME, "port": address.port, "protocol": "TCP"}],
            }
        ],
    }


def build_api_endpoint_slice(address: ApiServiceAddress) -> Document:
    return {
        "metadata": {"name": API_SERVICE, "labels": {"kubernetes.io/service-name": API_SERVICE}},
        "addressType": address.family,
        "endpoints": [{"addresses": [address.host], "conditions": {"ready": True}}],
        "ports": [{"name": _PORT_NAME, "port": address.port, "protocol": "TCP"}],
    }
