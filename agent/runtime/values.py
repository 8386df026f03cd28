"""What CRI shows of sandboxes, containers and images, as frozen values.

Pure. Made by `agent.runtime.decode` from protobuf and by the fake runtime; read by the pod plans, the node
status and the server. Times are seconds since the epoch, None where CRI says 0. Follows CRI v1 (`cri_proto`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from agent.pods.ports import ContainerID, SandboxID
from kubeapi.pod import PodUID

POD_NAME_LABEL: Final = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL: Final = "io.kubernetes.pod.namespace"
POD_UID_LABEL: Final = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL: Final = "io.kubernetes.container.name"
NODE_LABEL: Final = "berth.dev/node"


class ContainerState(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RuntimeSandbox:
    """One entry of ListPodSandbox."""

    id: SandboxID
    pod_uid: PodUID
    pod_name: str
    pod_namespace: str
    attempt: int
    ready: bool
    created_at: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeSandboxStatus:
    """What PodSandboxStatus says; no IPs on the host network."""

    id: SandboxID
    ready: bool
    ips: tuple[str, ...]
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RuntimeContainer:
    """One entry of ListContainers."""

    id: ContainerID
    sandbox_id: SandboxID
    name: str
    attempt: int
    state: ContainerState
    created_at: float
    image: str = ""
    image_ref: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def pod_uid(self) -> PodUID:
        return PodUID(self.labels.get(POD_UID_LABEL, ""))


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """What the kernel holds a container to, as far as the runtime tells; 0 where it doesn't."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LinuxUser:
    """Who a container's first process is, inside the container."""

    uid: int
    gid: int
    supplemental_groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeContainerStatus:
    """What ContainerStatus adds."""

    id: ContainerID
    state: ContainerState
    started_at: float | None
    finished_at: float | None
    exit_code: int
    reason: str
    message: str
    image: str
    image_ref: str
    log_path: str
    stop_signal: str = ""
    resources: LinuxResources | None = None
    user: LinuxUser | None = None


@dataclass(frozen=True, slots=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class RuntimeImage:
    """An image as ImageStatus and ListImages show it; `user_id` None: the image names a user, or nobody."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    user_id: int | None
    user_name: str
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    name: str
    version: str
    api_version: str


@dataclass(frozen=True, slots=True)
class HandlerFeatures:
    """What the runtime says it can do with one of its handlers; one that doesn't tell can't.

    `supplemental_groups_policy` is said of the runtime as a whole.
    """

    recursive_read_only: bool = False
    user_namespaces: bool = False
    supplemental_groups_policy: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeFeatures:
    """What CRI Status says of each handler, "" being the default one; nothing where it doesn't tell."""

    handlers: Mapping[str, HandlerFeatures] = field(default_factory=dict)
    supplemental_groups_policy: bool = False

    def of(self, handler: str) -> HandlerFeatures:
        unlisted = HandlerFeatures(supplemental_groups_policy=self.supplemental_groups_policy)
        return self.handlers.get(handler, unlisted)


@dataclass(frozen=True, slots=True)
class RuntimeCondition:
    """RuntimeReady or NetworkReady."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """What PullImage sends to a registry; never shown."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    server_address: str = ""
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    mountpoint: str
    used_bytes: int
    inodes_used: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """One entry of ListContainerStats."""

    container_id: ContainerID
    pod_uid: PodUID
    container_name: str
    cpu_nanoseconds: int
    memory_working_set_bytes: int
