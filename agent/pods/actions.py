"""Everything that can be done for a pod, as frozen values named after the call they cause.

Pure. Made by the plans, carried out by `execute`. Each is idempotent. `key` names what an action works on: a
lane never has two actions of one key in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent.pods.ports import ContainerID, SandboxID
from agent.resources.pod_limits import PodLimits
from kubeapi.pod import ResourceRequirements


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    @property
    def key(self) -> str:
        return "volumes"


@dataclass(frozen=True, slots=True)
class RefreshVolumes:
    @property
    def key(self) -> str:
        return "volumes"


@dataclass(frozen=True, slots=True)
class RunPodSandbox:
    attempt: int

    @property
    def key(self) -> str:
        return "sandbox"


@dataclass(frozen=True, slots=True)
class StopPodSandbox:
    sandbox_id: SandboxID

    @property
    def key(self) -> str:
        return "sandbox"


@dataclass(frozen=True, slots=True)
class RemovePodSandbox:
    sandbox_id: SandboxID

    @property
    def key(self) -> str:
        return "sandbox"


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """Makes the container's image present, before its attempt `attempt`."""

    container: str
    attempt: int

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class CreateContainer:
    """`backoff_seconds` is the delay to keep once this attempt has exited; `pod_restarts`: how often the
    whole pod has been restarted in place.
    """

    container: str
    sandbox_id: SandboxID
    attempt: int
    restart_count: int
    backoff_seconds: float
    pod_restarts: int = 0

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class StartContainer:
    container: str
    container_id: ContainerID

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class RunPreStopHook:
    container: str
    container_id: ContainerID
    kill_at: float

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class RunPostStartHook:
    container: str
    container_id: ContainerID

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class StopContainer:
    """The stop signal now, SIGKILL at `kill_at`; `why` is a sentence for the pod's events.

    `signal`: the pod's own choice, which the runtime doesn't know of.
    """

    container: str
    container_id: ContainerID
    kill_at: float
    why: str = ""
    signal: str = ""

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    container: str
    container_id: ContainerID

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class UpdatePodCgroup:
    """The limits of the pod's own cgroup, which its containers' cgroups lie in."""

    limits: PodLimits

    @property
    def key(self) -> str:
        # A cgroup that is made while it is removed would stay.
        return "files"


@dataclass(frozen=True, slots=True)
class UpdateContainerResources:
    """Gives a running container `wanted` instead of `actuated`, which it has now."""

    container: str
    container_id: ContainerID
    actuated: ResourceRequirements
    wanted: ResourceRequirements

    @property
    def key(self) -> str:
        return f"container/{self.container}"


@dataclass(frozen=True, slots=True)
class RemoveVolumes:
    @property
    def key(self) -> str:
        return "volumes"


@dataclass(frozen=True, slots=True)
class RemovePodFiles:
    """What the agent itself made for the pod: its cgroups, directory and logs."""

    @property
    def key(self) -> str:
        return "files"


@dataclass(frozen=True, slots=True)
class DeletePod:
    """The last word to the API server: the object goes, after its final status was written."""

    @property
    def key(self) -> str:
        return "api"


Action: TypeAlias = (
    PrepareVolumes
    | RefreshVolumes
    | RunPodSandbox
    | StopPodSandbox
    | RemovePodSandbox
    | EnsureImage
    | CreateContainer
    | StartContainer
    | RunPreStopHook
    | RunPostStartHook
    | StopContainer
    | RemoveContainer
    | UpdatePodCgroup
    | UpdateContainerResources
    | RemoveVolumes
    | RemovePodFiles
    | DeletePod
)
