"""The kinds this API server serves: one row each, and how to find a row.

Pure data. Read by every part of the server; a new kind is a new row here, its schema in `openapi`, and what
`defaults`, `validation` and `printing` have to say about it. Columns, defaults and validation are looked up
there by the kind's name. Follows the resource list of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

OBJECT_VERBS: Final = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object; group, version and kind are those of the document that travels there."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row. `fields` are what field selectors may name besides metadata.name and metadata.namespace.

    `initial_status` replaces whatever status a creator sends; None lets it pass. `counts_generations`: the
    metadata.generation counts the changes of what a user wishes for.
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    fields: tuple[str, ...] = ()
    initial_status: Mapping[str, Any] | None = None
    counts_generations: bool = False
    updates_need_version: bool = False
    deletion_returns_object: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_plural(self) -> str:
        """As messages name the resource: "pods", "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """As messages name the kind: "Pod", "Deployment.apps"."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def has_status(self) -> bool:
        return self.find_subresource("status") is not None

    @property
    def prefix(self) -> str:
        """Where storage keeps every object of the kind; ends with a slash."""
        return f"/registry/{self.group or 'core'}/{self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"

    def find_subresource(self, name: str) -> Subresource | None:
        return next((each for each in self.subresources if each.name == name), None)


def _status(kind: str, group: str = "") -> Subresource:
    return Subresource("status", kind, ("get", "patch", "update"), group)


_SCALE: Final = Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling")

POD: Final = Kind(
    "",
    "v1",
    "pods",
    "pod",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", ("get", "patch", "update")),
        Subresource("eviction", "Eviction", ("create",), "policy"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        Subresource("resize", "Pod", ("get", "patch", "update")),
        _status("Pod"),
    ),
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    initial_status={"phase": "Pending"},
    counts_generations=True,
    deletion_returns_object=True,
)
NODE: Final = Kind(
    "",
    "v1",
    "nodes",
    "node",
    "Node",
    namespaced=False,
    short_names=("no",),
    subresources=(_status("Node"),),
    fields=("spec.unschedulable",),
)
SERVICE: Final = Kind(
    "",
    "v1",
    "services",
    "service",
    "Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(_status("Service"),),
    fields=("spec.clusterIP", "spec.type"),
    initial_status={"loadBalancer": {}},
    deletion_returns_object=True,
)
ENDPOINTS: Final = Kind("", "v1", "endpoints", "endpoints", "Endpoints", short_names=("ep",))
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "configmap", "ConfigMap", short_names=("cm",))
SECRET: Final = Kind("", "v1", "secrets", "secret", "Secret", fields=("type",))
SERVICE_ACCOUNT: Final = Kind(
    "",
    "v1",
    "serviceaccounts",
    "serviceaccount",
    "ServiceAccount",
    short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io"),),
    deletion_returns_object=True,
)
NAMESPACE: Final = Kind(
    "",
    "v1",
    "namespaces",
    "namespace",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
    fields=("status.phase",),
    initial_status={"phase": "Active"},
    deletion_returns_object=True,
)
EVENT: Final = Kind(
    "",
    "v1",
    "events",
    "event",
    "Event",
    short_names=("ev",),
    fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
DEPLOYMENT: Final = Kind(
    "apps",
    "v1",
    "deployments",
    "deployment",
    "Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(_SCALE, _status("Deployment", "apps")),
    initial_status={},
    counts_generations=True,
)
REPLICA_SET: Final = Kind(
    "apps",
    "v1",
    "replicasets",
    "replicaset",
    "ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(_SCALE, _status("ReplicaSet", "apps")),
    fields=("status.replicas",),
    initial_status={"replicas": 0},
    counts_generations=True,
)
ENDPOINT_SLICE: Final = Kind(
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    "endpointslice",
    "EndpointSlice",
    counts_generations=True,
)
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "lease", "Lease", updates_need_version=True)
PERSISTENT_VOLUME: Final = Kind(
    "",
    "v1",
    "persistentvolumes",
    "persistentvolume",
    "PersistentVolume",
    namespaced=False,
    short_names=("pv",),
    subresources=(_status("PersistentVolume"),),
    initial_status={"phase": "Pending"},
    deletion_returns_object=True,
)
PERSISTENT_VOLUME_CLAIM: Final = Kind(
    "",
    "v1",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    "PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(_status("PersistentVolumeClaim"),),
    initial_status={"phase": "Pending"},
    deletion_returns_object=True,
)
STORAGE_CLASS: Final = Kind(
    "storage.k8s.io",
    "v1",
    "storageclasses",
    "storageclass",
    "StorageClass",
    namespaced=False,
    short_names=("sc",),
    deletion_returns_object=True,
)
RUNTIME_CLASS: Final = Kind(
    "node.k8s.io", "v1", "runtimeclasses", "runtimeclass", "RuntimeClass", namespaced=False
)
PRIORITY_CLASS: Final = Kind(
    "scheduling.k8s.io",
    "v1",
    "priorityclasses",
    "priorityclass",
    "PriorityClass",
    namespaced=False,
    short_names=("pc",),
    counts_generations=True,
)

KINDS: Final = (
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    DEPLOYMENT,
    REPLICA_SET,
    LEASE,
    ENDPOINT_SLICE,
    RUNTIME_CLASS,
    PRIORITY_CLASS,
    STORAGE_CLASS,
)

_BY_PATH: Final[Mapping[tuple[str, str, str], Kind]] = MappingProxyType(
    {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
)
_BY_PREFIX: Final[Mapping[str, Kind]] = MappingProxyType({kind.prefix: kind for kind in KINDS})
_BY_KIND: Final[Mapping[tuple[str, str], Kind]] = MappingProxyType(
    {(kind.api_version, kind.kind): kind for kind in KINDS}
)


def find_kind(group: str, version: str, plural: str) -> Kind | None:
    """The row behind a request path."""
    return _BY_PATH.get((group, version, plural))


def find_kind_of_object(api_version: str, kind: str) -> Kind | None:
    """The row behind a document's apiVersion and kind."""
    return _BY_KIND.get((api_version, kind))


def find_kind_of_key(key: str) -> Kind | None:
    """The row behind a storage key; None for what other versions stored."""
    parts = key.split("/", 4)
    return _BY_PREFIX.get(f"/{parts[1]}/{parts[2]}/{parts[3]}/") if len(parts) == 5 else None
