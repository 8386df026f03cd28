"""Pods (core/v1) as frozen views: spec, template, status.

Pure. Read by the agent, the scheduler and the controllers. Follows the Pod page of the Kubernetes API
reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

import msgspec

from kubeapi.meta import (
    Condition,
    IntOrString,
    LabelSelector,
    Object,
    ObjectMeta,
    QuantityText,
    View,
)
from kubeapi.volume import Volume

PodUID = NewType("PodUID", str)
NodeName = NewType("NodeName", str)

# --- environment --------------------------------------------------------------------------------------------


class ObjectFieldSelector(View, frozen=True, kw_only=True):
    api_version: str = "v1"
    field_path: str = ""


class ResourceFieldSelector(View, frozen=True, kw_only=True):
    container_name: str = ""
    resource: str = ""
    divisor: QuantityText = "0"


class KeySelector(View, frozen=True, kw_only=True):
    """ConfigMapKeySelector and SecretKeySelector: the same fields under two names."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class EnvVarSource(View, frozen=True, kw_only=True):
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvSource(View, frozen=True, kw_only=True):
    name: str = ""
    optional: bool | None = None


class EnvFromSource(View, frozen=True, kw_only=True):
    prefix: str = ""
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


# --- probes and hooks ---------------------------------------------------------------------------------------


class ExecAction(View, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class HTTPHeader(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPGetAction(View, frozen=True, kw_only=True):
    path: str = "/"
    port: IntOrString = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(View, frozen=True, kw_only=True):
    port: IntOrString = 0
    host: str = ""


class GRPCAction(View, frozen=True, kw_only=True):
    port: int = 0
    service: str | None = None


class SleepAction(View, frozen=True, kw_only=True):
    seconds: int = 0


class Probe(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(View, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


# --- security -----------------------------------------------------------------------------------------------


class Capabilities(View, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(View, frozen=True, kw_only=True):
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SecurityProfile(View, frozen=True, kw_only=True):
    """A seccompProfile or an appArmorProfile: RuntimeDefault, Unconfined, or Localhost with a path."""

    type: str = ""
    localhost_profile: str | None = None


class SecurityContext(View, frozen=True, kw_only=True):
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    proc_mount: str | None = None
    seccomp_profile: SecurityProfile | None = None
    app_armor_profile: SecurityProfile | None = None


class Sysctl(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class PodSecurityContext(View, frozen=True, kw_only=True):
    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str | None = None
    fs_group: int | None = None
    fs_group_change_policy: str | None = None
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: SecurityProfile | None = None
    app_armor_profile: SecurityProfile | None = None


# --- containers ---------------------------------------------------------------------------------------------


class ContainerPort(View, frozen=True, kw_only=True):
    name: str = ""
    host_port: int = 0
    container_port: int = 0
    protocol: str = "TCP"
    host_ip: str = msgspec.field(default="", name="hostIP")


class ResourceRequirements(View, frozen=True, kw_only=True):
    limits: Mapping[str, QuantityText] = {}
    requests: Mapping[str, QuantityText] = {}


class VolumeMount(View, frozen=True, kw_only=True):
    name: str = ""
    read_only: bool = False
    recursive_read_only: str | None = None
    mount_path: str = ""
    sub_path: str = ""
    mount_propagation: str | None = None
    sub_path_expr: str = ""


class ContainerResizePolicy(View, frozen=True, kw_only=True):
    resource_name: str = ""
    restart_policy: str = ""


class ContainerRestartRuleExitCodes(View, frozen=True, kw_only=True):
    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(View, frozen=True, kw_only=True):
    action: str = ""
    exit_codes: ContainerRestartRuleExitCodes | None = None


class Container(View, frozen=True, kw_only=True):
    """A container of any kind: init, app or ephemeral (`target_container_name` is the last kind's own)."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    restart_policy: str | None = None
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    target_container_name: str = ""


# --- scheduling ---------------------------------------------------------------------------------------------


class Toleration(View, frozen=True, kw_only=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class NodeSelectorRequirement(View, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(View, frozen=True, kw_only=True):
    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(View, frozen=True, kw_only=True):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class PreferredSchedulingTerm(View, frozen=True, kw_only=True):
    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(View, frozen=True, kw_only=True):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] = ()


class PodAffinityTerm(View, frozen=True, kw_only=True):
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    topology_key: str = ""
    namespace_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinityTerm(View, frozen=True, kw_only=True):
    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAffinity(View, frozen=True, kw_only=True):
    """podAffinity and podAntiAffinity: the same fields under two names."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()


class Affinity(View, frozen=True, kw_only=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(View, frozen=True, kw_only=True):
    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = ""
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: tuple[str, ...] = ()


class PodReadinessGate(View, frozen=True, kw_only=True):
    condition_type: str = ""


class PodSchedulingGate(View, frozen=True, kw_only=True):
    name: str = ""


# --- the pod ------------------------------------------------------------------------------------------------


class HostAlias(View, frozen=True, kw_only=True):
    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodDNSConfigOption(View, frozen=True, kw_only=True):
    name: str = ""
    value: str | None = None


class PodDNSConfig(View, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class LocalObjectReference(View, frozen=True, kw_only=True):
    name: str = ""


class PodOS(View, frozen=True, kw_only=True):
    name: str = ""


class PodSpec(View, frozen=True, kw_only=True):
    volumes: tuple[Volume, ...] = ()
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    node_selector: Mapping[str, str] = {}
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_users: bool | None = None
    share_process_namespace: bool | None = None
    security_context: PodSecurityContext | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool | None = msgspec.field(default=None, name="setHostnameAsFQDN")
    hostname_override: str | None = None
    affinity: Affinity | None = None
    scheduler_name: str = "default-scheduler"
    tolerations: tuple[Toleration, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None
    dns_config: PodDNSConfig | None = None
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    runtime_class_name: str | None = None
    enable_service_links: bool | None = None
    overhead: Mapping[str, QuantityText] = {}
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    os: PodOS | None = None
    scheduling_gates: tuple[PodSchedulingGate, ...] = ()
    resources: ResourceRequirements | None = None


class ContainerStateWaiting(View, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(View, frozen=True, kw_only=True):
    started_at: str | None = None


class ContainerStateTerminated(View, frozen=True, kw_only=True):
    exit_code: int = msgspec.field(default_factory=int)  # a factory: always written, 0 too
    signal: int | None = None
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = msgspec.field(default="", name="containerID")


class ContainerState(View, frozen=True, kw_only=True):
    """Exactly one of the three is set; none means waiting."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class LinuxContainerUser(View, frozen=True, kw_only=True):
    """Who the container's first process is; the numbers are those inside the container."""

    uid: int = msgspec.field(default_factory=int)
    gid: int = msgspec.field(default_factory=int)
    supplemental_groups: tuple[int, ...] = ()


class ContainerUser(View, frozen=True, kw_only=True):
    linux: LinuxContainerUser | None = None


class ContainerStatus(View, frozen=True, kw_only=True):
    """Fields whose default is a factory are always written, as the API demands of them."""

    name: str = msgspec.field(default_factory=str)
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    last_state: ContainerState = msgspec.field(default_factory=ContainerState)
    ready: bool = msgspec.field(default_factory=bool)
    restart_count: int = msgspec.field(default_factory=int)
    image: str = msgspec.field(default_factory=str)
    image_id: str = msgspec.field(default_factory=str, name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    started: bool | None = None
    allocated_resources: Mapping[str, QuantityText] = {}
    resources: ResourceRequirements | None = None
    stop_signal: str = ""
    user: ContainerUser | None = None


class HostIP(View, frozen=True, kw_only=True):
    ip: str = ""


class PodIP(View, frozen=True, kw_only=True):
    ip: str = ""


class PodStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = msgspec.field(default="", name="hostIP")
    host_ips: tuple[HostIP, ...] = msgspec.field(default=(), name="hostIPs")
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    start_time: str | None = None
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str = ""


class Pod(Object, frozen=True, kw_only=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def uid(self) -> PodUID:
        return PodUID(self.metadata.uid)


class PodTemplateSpec(View, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
