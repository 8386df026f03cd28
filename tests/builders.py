"""One good object of each kind, as views: a test changes one fact and looks at what follows.

Pure. `metadata`, `spec` and `status` override fields of the good object by their snake_case names; all is
frozen. Times are offsets from `NOW`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from kubeapi.apps import Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus
from kubeapi.coordination import Lease, LeaseSpec
from kubeapi.core import (
    Namespace,
    NamespaceSpec,
    NamespaceStatus,
    Node,
    NodeSpec,
    NodeStatus,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
)
from kubeapi.discovery import EndpointSlice
from kubeapi.meta import (
    Condition,
    LabelSelector,
    Object,
    ObjectMeta,
    OwnerReference,
    View,
    format_micro_time,
    format_time,
)
from kubeapi.pod import Container, ContainerPort, Pod, PodIP, PodSpec, PodStatus, ResourceRequirements

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Overrides = Mapping[str, Any]
ViewT = TypeVar("ViewT", bound=View)


def at(seconds: float) -> str:
    """The API's Time, that many seconds after `NOW` (before it, when negative)."""
    return format_time(NOW + timedelta(seconds=seconds))


def changed(view: ViewT, **changes: Any) -> ViewT:
    """The same view with other values in the named fields."""
    return msgspec.structs.replace(view, **changes)


def object_meta(name: str, namespace: str, uid: str, overrides: Overrides | None) -> ObjectMeta:
    good = ObjectMeta(
        name=name,
        namespace=namespace,
        uid=uid,
        resource_version="1",
        generation=1,
        creation_timestamp=at(-600),
    )
    return changed(good, **(overrides or {}))


def owner_reference(owner: Object, *, controller: bool = True, block: bool = True) -> OwnerReference:
    """The reference by which `owner` is named as an object's controller."""
    return OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=controller or None,
        block_owner_deletion=block or None,
    )


def container(name: str = "web", **overrides: Any) -> Container:
    """A web container: 100m CPU and 64Mi requested, port 80 named http."""
    good = Container(
        name=name,
        image="berth.local/web:1",
        ports=(ContainerPort(name="http", container_port=80),),
        resources=ResourceRequirements(requests={"cpu": "100m", "memory": "64Mi"}),
    )
    return changed(good, **overrides)


def condition(
    type_: str, status: str = "True", *, since: float = -60, reason: str = "", message: str = ""
) -> Condition:
    return Condition(
        type=type_, status=status, reason=reason, message=message, last_transition_time=at(since)
    )


def pod(
    name: str = "web-1",
    namespace: str = "default",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
    status: Overrides | None = None,
) -> Pod:
    """A pod that runs on node-1 and has been ready for a minute."""
    good_status = PodStatus(
        phase="Running",
        conditions=(condition("PodScheduled"), condition("ContainersReady"), condition("Ready")),
        pod_ip="10.244.1.2",
        pod_ips=(PodIP(ip="10.244.1.2"),),
        host_ip="192.168.0.1",
        start_time=at(-70),
    )
    return Pod(
        api_version="v1",
        kind="Pod",
        metadata=object_meta(name, namespace, f"uid-{name}", {"labels": {"app": "web"}, **(metadata or {})}),
        spec=changed(PodSpec(containers=(container(),), node_name="node-1"), **(spec or {})),
        status=changed(good_status, **(status or {})),
    )


def pending_pod(name: str = "web-1", namespace: str = "default", **overrides: Any) -> Pod:
    """A pod as it is right after its creation: on no node, with no status but its phase."""
    spec = {"node_name": "", **overrides.pop("spec", {})}
    status = {
        "phase": "Pending",
        "conditions": (),
        "pod_ip": "",
        "pod_ips": (),
        "host_ip": "",
        "start_time": None,
    }
    return pod(name, namespace, spec=spec, status={**status, **overrides.pop("status", {})}, **overrides)


def node(
    name: str = "node-1",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
    status: Overrides | None = None,
) -> Node:
    """A ready node with 4 CPUs, 8Gi, room for 110 pods and a pod CIDR."""
    room = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    healthy = tuple(condition(name, "False") for name in ("MemoryPressure", "DiskPressure", "PIDPressure"))
    good_status = NodeStatus(capacity=room, allocatable=room, conditions=(*healthy, condition("Ready")))
    good_spec = NodeSpec(pod_cidr="10.244.1.0/24", pod_cidrs=("10.244.1.0/24",))
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return Node(
        api_version="v1",
        kind="Node",
        metadata=object_meta(name, "", f"uid-{name}", {"labels": labels, **(metadata or {})}),
        spec=changed(good_spec, **(spec or {})),
        status=changed(good_status, **(status or {})),
    )


def taint(key: str = "dedicated", value: str = "db", effect: str = "NoSchedule") -> Taint:
    return Taint(key=key, value=value, effect=effect)


def lease(name: str = "node-1", *, renewed: float = -5, spec: Overrides | None = None) -> Lease:
    """A node's Lease, renewed five seconds ago."""
    renew_time = format_micro_time(NOW + timedelta(seconds=renewed))
    good = LeaseSpec(holder_identity=name, lease_duration_seconds=40, renew_time=renew_time)
    return Lease(
        api_version="coordination.k8s.io/v1",
        kind="Lease",
        metadata=object_meta(name, "kube-node-lease", f"uid-lease-{name}", None),
        spec=changed(good, **(spec or {})),
    )


def namespace(
    name: str = "default",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
    status: Overrides | None = None,
) -> Namespace:
    return Namespace(
        api_version="v1",
        kind="Namespace",
        metadata=object_meta(name, "", f"uid-{name}", metadata),
        spec=changed(NamespaceSpec(finalizers=("kubernetes",)), **(spec or {})),
        status=changed(NamespaceStatus(phase="Active"), **(status or {})),
    )


def service(
    name: str = "web",
    namespace: str = "default",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
) -> Service:
    """A ClusterIP Service of the pods labelled app=web: port 80 to the container port named http."""
    good = ServiceSpec(
        selector={"app": "web"},
        ports=(ServicePort(name="http", port=80, target_port="http"),),
        cluster_ip="10.96.0.10",
        cluster_ips=("10.96.0.10",),
        ip_families=("IPv4",),
    )
    return Service(
        api_version="v1",
        kind="Service",
        metadata=object_meta(name, namespace, f"uid-service-{name}", metadata),
        spec=changed(good, **(spec or {})),
    )


def endpoint_slice(name: str, of: Service, **overrides: Any) -> EndpointSlice:
    """An empty slice of the Service, as our controller labels it."""
    labels = {
        "kubernetes.io/service-name": of.metadata.name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    owner = {"labels": labels, "owner_references": (owner_reference(of),)}
    meta = object_meta(name, of.metadata.namespace, f"uid-{name}", {**owner, **overrides.pop("metadata", {})})
    good = EndpointSlice(api_version="discovery.k8s.io/v1", kind="EndpointSlice", metadata=meta)
    return changed(good, **overrides)


def pod_template(labels: Mapping[str, str] | None = None, **spec: Any) -> msgspec.Raw:
    """A pod template as it stands in a document: one web container, labelled app=web."""
    document = {
        "metadata": {"labels": dict(labels or {"app": "web"})},
        "spec": {"containers": [{"name": "web", "image": "berth.local/web:1"}], **spec},
    }
    return msgspec.Raw(msgspec.json.encode(document))


def deployment(
    name: str = "web",
    namespace: str = "default",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
    status: Overrides | None = None,
) -> Deployment:
    """Three replicas of the web pod; nothing has been done for it yet."""
    good = DeploymentSpec(
        replicas=3, selector=LabelSelector(match_labels={"app": "web"}), template=pod_template()
    )
    blank = Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=object_meta(name, namespace, f"uid-deployment-{name}", metadata),
        spec=changed(good, **(spec or {})),
    )
    return changed(blank, status=changed(blank.status, **(status or {})))


def replica_set(
    name: str = "web-abc",
    namespace: str = "default",
    *,
    metadata: Overrides | None = None,
    spec: Overrides | None = None,
    status: Overrides | None = None,
) -> ReplicaSet:
    """Three replicas of the web pod, wanted; none reported."""
    good = ReplicaSetSpec(
        replicas=3, selector=LabelSelector(match_labels={"app": "web"}), template=pod_template()
    )
    return ReplicaSet(
        api_version="apps/v1",
        kind="ReplicaSet",
        metadata=object_meta(name, namespace, f"uid-{name}", metadata),
        spec=changed(good, **(spec or {})),
        status=changed(ReplicaSetStatus(observed_generation=1), **(status or {})),
    )
