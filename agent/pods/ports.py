"""The seams of the pod lanes: what they need from images, volumes and probes, and what they offer to the
rest.

Pure: protocols and frozen values only. `agent.app` joins the implementations; tests join fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NewType, Protocol

from kubeapi.meta import ObjectKey
from kubeapi.pod import Container, Pod, PodUID

SandboxID = NewType("SandboxID", str)
ContainerID = NewType("ContainerID", str)


class Unavailable(Exception):
    """Something a container needs isn't there yet; shown as the container's waiting reason, then retried.

    `reason` is spelled as the kubelet spells it (ErrImagePull, ImagePullBackOff, ErrImageNeverPull,
    InvalidImageName, FailedMount, CreateContainerConfigError, …); `message` is one sentence without secrets.
    `retry_seconds`: when it may be different, where that is known; trying earlier is in vain.
    """

    def __init__(self, reason: str, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, slots=True)
class PullFacts:
    """What a pull took: the transfer itself, and that with the wait for its turn."""

    seconds: float
    waiting_seconds: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image the runtime holds; `ref` is what CreateContainer takes, `user` what the image declares.

    `pulled`: it wasn't there, or the policy asked for more than that, and so it was pulled; `pull` tells of
    that, and doesn't make it another image.
    """

    ref: str
    user_id: int | None
    user_name: str
    pulled: bool = False
    pull: PullFacts | None = field(default=None, compare=False)


class ImageSource(Protocol):
    async def ensure_image(self, pod: Pod, container: Container) -> LocalImage:
        """The image, pulled if the policy says so; raises Unavailable. Never blocks another pod's pull."""


@dataclass(frozen=True, slots=True)
class HostVolume:
    """A volume of a pod, ready on the host; `path` is a directory, or a file for a hostPath file.

    With an `image` the runtime mounts that image's contents, and the path means nothing.
    """

    path: Path
    read_only: bool = False
    image: str = ""


class VolumeSource(Protocol):
    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        """Every volume of the pod by name, made and filled; raises Unavailable. Idempotent."""

    async def refresh_volumes(self, pod: Pod) -> None:
        """Changed ConfigMaps and Secrets written into the pod's volumes, each volume swapped atomically."""

    async def remove_volumes(self, uid: PodUID) -> None:
        """Unmounts and removes what `prepare_volumes` made; the contents of a hostPath stay. Idempotent."""


class ConfigSource(Protocol):
    """ConfigMaps and Secrets that this node's pods name, as last seen; None when they don't exist."""

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None: ...

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None: ...


class ProbeKind(Enum):
    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """What the probes say of one running container.

    started: startup probe passed, or there is none. ready: readiness passed, or there is none.
    live: False once liveness (or startup) failed its threshold: the container is to be restarted.
    message: the last failure in one sentence, else empty.
    """

    started: bool
    ready: bool
    live: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One running container with probes; `started_at` in seconds since the epoch.

    `terminating`: its pod ends, and only its readiness is of interest.
    """

    pod: Pod
    container: Container
    container_id: ContainerID
    pod_ip: str
    started_at: float
    terminating: bool = False


class ProbeTrouble(Enum):
    """Only FAILED counts towards a threshold. ERRORED: the probe can't be made as it is written, or the
    runtime got in the way. HANGS: the try hasn't ended yet, and takes long. WARNING: passed, but not quite as
    meant.
    """

    FAILED = "failed"
    ERRORED = "errored"
    HANGS = "hangs"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """One try of a probe that wasn't as it should be; `message` may hold what its command printed."""

    uid: PodUID
    container: str
    kind: ProbeKind
    message: str
    trouble: ProbeTrouble = ProbeTrouble.FAILED


class ProbeRunner(Protocol):
    def set_targets(self, uid: PodUID, targets: tuple[ProbeTarget, ...]) -> None:
        """What is to be probed for this pod from now on; schedules of unchanged containers go on."""

    def verdict(self, target: ProbeTarget) -> ProbeVerdict:
        """As known now, from memory."""

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        """Called when a pod's verdict changed."""

    def subscribe_failures(self, handler: Callable[[ProbeFailure], None]) -> None:
        """Called for each failure that counts towards a threshold, and for other trouble."""


@dataclass(frozen=True, slots=True)
class HostPort:
    protocol: str
    host_ip: str
    host_port: int
    container_port: int


@dataclass(frozen=True, slots=True)
class RunningPod:
    """What the network half may know of a pod that has a sandbox on this node; a `static` one has another uid
    in the API.
    """

    uid: PodUID
    key: ObjectKey
    pod_ips: tuple[str, ...]
    host_network: bool
    host_ports: tuple[HostPort, ...]
    terminating: bool
    static: bool = False


@dataclass(frozen=True, slots=True)
class ContainerHandle:
    """Where the HTTPS server finds a container: for logs, exec, attach and port-forward."""

    pod: Pod
    sandbox_id: SandboxID
    container_id: ContainerID
    log_path: Path
    running: bool


class ServiceDrain(Protocol):
    """Whether clients of Services are still sent to a pod that ends; asked before its processes are told."""

    def is_released(self, uid: PodUID) -> bool:
        """True once this node's rules send no new connection to the pod, or to nothing better than it; also
        for a pod that no Service has.
        """

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        """Called when `is_released` has become true for a pod."""


class PodDirectory(Protocol):
    """The pods of this node as their lanes last saw them; lookups in memory."""

    def pods(self) -> tuple[Pod, ...]: ...

    def running_pods(self) -> tuple[RunningPod, ...]: ...

    def subscribe_running(self, handler: Callable[[], None]) -> None:
        """Called when `running_pods()` may answer differently."""

    def find_container(
        self, key: ObjectKey, uid: str, container: str, previous: bool
    ) -> ContainerHandle | None:
        """The container's newest attempt, or the one before; an empty uid matches any, an empty container
        name the only or default container."""


class ObservablePods(PodDirectory, Protocol):
    """The same, for who follows every change of a status."""

    def subscribe_pods(self, handler: Callable[[], None]) -> None:
        """Called after each look at a pod, when `pods()` may answer differently; quick, and often."""
