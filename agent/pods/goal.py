"""What a pod is to become: its specification, and whether and since when it is to end.

Pure. Made by the lanes from the sources' pods and the checkpoint; read by the plans, the status and the
executor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.checkpoint.records import NO_RESIZE, ResourceRecord
from kubeapi.pod import Container, ContainerStatus, Pod, PodStatus

SOURCE_ANNOTATION: Final = "kubernetes.io/config.source"
HASH_ANNOTATION: Final = "kubernetes.io/config.hash"
MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
SEEN_ANNOTATION: Final = "kubernetes.io/config.seen"


class Ending(Enum):
    """Why a pod ends; what is left afterwards differs.

    DELETED: its API object waits for us to delete it. GONE: no source wants it any more. FAILED: it broke a
    promise (deadline, admission) and stays in the API as Failed.
    """

    DELETED = "deleted"  # its API object waits for us to delete it
    GONE = "gone"  # no source wants it any more
    FAILED = "failed"  # it was rejected or is past its deadline, and stays in the API as Failed


@dataclass(frozen=True, slots=True)
class Termination:
    """The end of a pod; `since` in seconds since the epoch, `grace_seconds` counted from then.

    `disruption`: the node ends it for reasons of its own, such as its shutdown or a lack of memory.
    """

    ending: Ending
    since: float
    grace_seconds: int
    reason: str = ""
    message: str = ""
    disruption: bool = False

    @property
    def kill_at(self) -> float:
        return self.since + self.grace_seconds


@dataclass(frozen=True, slots=True)
class PodGoal:
    pod: Pod
    termination: Termination | None = None
    start_time: float | None = None
    resources: ResourceRecord = NO_RESIZE

    @property
    def static(self) -> bool:
        return is_static(self.pod)


def is_static(pod: Pod) -> bool:
    """From a file on this node, not from the API server."""
    return pod.metadata.annotations.get(SOURCE_ANNOTATION, "api") != "api"


def is_mirror(pod: Pod) -> bool:
    """The API server's picture of a static pod."""
    return MIRROR_ANNOTATION in pod.metadata.annotations


def is_sidecar(container: Container) -> bool:
    """For init containers: a restartable one, which goes on beside the app containers."""
    return container.restart_policy == "Always"


def is_ephemeral(pod: Pod, name: str) -> bool:
    """Added to the running pod for a look around: never restarted, and nothing depends on it."""
    return any(container.name == name for container in pod.spec.ephemeral_containers)


def iterate_containers(pod: Pod) -> Iterator[Container]:
    """Init containers in order, then app containers, then ephemeral ones."""
    yield from pod.spec.init_containers
    yield from pod.spec.containers
    yield from pod.spec.ephemeral_containers


def find_container(pod: Pod, name: str) -> Container | None:
    return next((container for container in iterate_containers(pod) if container.name == name), None)


def iterate_statuses(status: PodStatus) -> Iterator[ContainerStatus]:
    """Of the same containers, in the same order, as far as the status has them."""
    yield from status.init_container_statuses
    yield from status.container_statuses
    yield from status.ephemeral_container_statuses


def find_status(pod: Pod, name: str) -> ContainerStatus | None:
    """What the pod's own status says of a container."""
    return next((status for status in iterate_statuses(pod.status) if status.name == name), None)


def compute_spec_hash(container: Container) -> str:
    """Changes when the container must be replaced: of a pod's containers only the image can change."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:16]
