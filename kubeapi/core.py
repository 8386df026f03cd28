"""The other kinds of core/v1 as frozen views: nodes, services, configuration, namespaces, events.

Pure. Follows the core/v1 pages of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kubeapi.meta import Condition, IntOrString, Object, QuantityText, View

# --- nodes --------------------------------------------------------------------------------------------------


class Taint(View, frozen=True, kw_only=True):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(View, frozen=True, kw_only=True):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")
    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(View, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class DaemonEndpoint(View, frozen=True, kw_only=True):
    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(View, frozen=True, kw_only=True):
    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSystemInfo(View, frozen=True, kw_only=True, omit_defaults=False):
    machine_id: str = msgspec.field(default="", name="machineID")
    system_uuid: str = msgspec.field(default="", name="systemUUID")
    boot_id: str = msgspec.field(default="", name="bootID")
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class ContainerImage(View, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()
    size_bytes: int = 0


class NodeRuntimeHandlerFeatures(View, frozen=True, kw_only=True):
    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False


class NodeRuntimeHandler(View, frozen=True, kw_only=True):
    """`name` is empty for the default handler."""

    name: str = msgspec.field(default_factory=str)
    features: NodeRuntimeHandlerFeatures = NodeRuntimeHandlerFeatures()


class NodeFeatures(View, frozen=True, kw_only=True):
    supplemental_groups_policy: bool = msgspec.field(default_factory=bool)


class NodeStatus(View, frozen=True, kw_only=True):
    capacity: Mapping[str, QuantityText] = {}
    allocatable: Mapping[str, QuantityText] = {}
    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    daemon_endpoints: NodeDaemonEndpoints = NodeDaemonEndpoints()
    node_info: NodeSystemInfo = NodeSystemInfo()
    images: tuple[ContainerImage, ...] = ()
    runtime_handlers: tuple[NodeRuntimeHandler, ...] = ()
    features: NodeFeatures | None = None


class Node(Object, frozen=True, kw_only=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


# --- services -----------------------------------------------------------------------------------------------


class ServicePort(View, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: int = 0
    target_port: IntOrString = 0
    node_port: int = 0


class ClientIPConfig(View, frozen=True, kw_only=True):
    timeout_seconds: int = 10800


class SessionAffinityConfig(View, frozen=True, kw_only=True):
    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(View, frozen=True, kw_only=True):
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = {}
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    type: str = "ClusterIP"
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = "Cluster"
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str | None = None
    traffic_distribution: str | None = None


class LoadBalancerIngress(View, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(View, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(View, frozen=True, kw_only=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(Object, frozen=True, kw_only=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


# --- configuration ------------------------------------------------------------------------------------------


class ConfigMap(Object, frozen=True, kw_only=True):
    data: Mapping[str, str] = {}
    binary_data: Mapping[str, bytes] = {}
    immutable: bool | None = None


class Secret(Object, frozen=True, kw_only=True):
    """`data` is decoded from base64; a Secret never shows its data in a `repr`."""

    data: Mapping[str, bytes] = {}
    type: str = "Opaque"
    immutable: bool | None = None

    def __repr__(self) -> str:
        return f"Secret({self.key}, {len(self.data)} keys)"


class ServiceAccount(Object, frozen=True, kw_only=True):
    automount_service_account_token: bool | None = None


class NamespaceSpec(View, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(Object, frozen=True, kw_only=True):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


# --- events -------------------------------------------------------------------------------------------------


class ObjectReference(View, frozen=True, kw_only=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSource(View, frozen=True, kw_only=True):
    component: str = ""
    host: str = ""


class Event(Object, frozen=True, kw_only=True):
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    count: int = 0
    type: str = ""
    event_time: str | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
