"""Which REST path each kind lives at: the resources this project's clients use.

Pure. Called by the client, the informers and everything that names a kind. Follows the "Resource URIs"
section of the Kubernetes API concepts page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from kubeapi.apps import Deployment, ReplicaSet
from kubeapi.coordination import Lease
from kubeapi.core import ConfigMap, Event, Namespace, Node, Secret, Service, ServiceAccount
from kubeapi.discovery import EndpointSlice
from kubeapi.meta import Object
from kubeapi.node_classes import RuntimeClass
from kubeapi.pod import Pod
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass

ViewT = TypeVar("ViewT", bound=Object)


@dataclass(frozen=True, slots=True)
class Resource(Generic[ViewT]):
    """One kind's place in the API; `view` is the type its objects decode to."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    view: type[ViewT]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The absolute request path; without a namespace, a namespaced kind means all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = f"/{name}" if name else ""
        sub = f"/{subresource}" if subresource else ""
        return f"{root}{scope}/{self.plural}{tail}{sub}"


PODS: Final = Resource("", "v1", "pods", "Pod", True, Pod)
NODES: Final = Resource("", "v1", "nodes", "Node", False, Node)
SERVICES: Final = Resource("", "v1", "services", "Service", True, Service)
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap", True, ConfigMap)
SECRETS: Final = Resource("", "v1", "secrets", "Secret", True, Secret)
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount", True, ServiceAccount)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", False, Namespace)
EVENTS: Final = Resource("", "v1", "events", "Event", True, Event)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment", True, Deployment)
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet", True, ReplicaSet)
ENDPOINT_SLICES: Final = Resource(
    "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True, EndpointSlice
)
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", True, Lease)
PERSISTENT_VOLUMES: Final = Resource(
    "", "v1", "persistentvolumes", "PersistentVolume", False, PersistentVolume
)
PERSISTENT_VOLUME_CLAIMS: Final = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, PersistentVolumeClaim
)
STORAGE_CLASSES: Final = Resource(
    "storage.k8s.io", "v1", "storageclasses", "StorageClass", False, StorageClass
)
RUNTIME_CLASSES: Final = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False, RuntimeClass)
