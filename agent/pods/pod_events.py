"""Which of a lane's doings are worth an Event, and in which words.

Pure. Called by the lanes; the recorder writes them. Reasons are those `kubectl describe pod` shows on any
cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from agent.pods.actions import (
    Action,
    CreateContainer,
    EnsureImage,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
)
from agent.pods.goal import find_container
from agent.pods.outcomes import ActionResult, HookFailed, ImageEnsured
from agent.pods.ports import ProbeFailure
from agent.pods.progress import Failure
from kubeapi.pod import ContainerStatus, Pod, PodStatus


@dataclass(frozen=True, slots=True)
class PodEvent:
    """`container` names the part it is about, if one."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


class PodEvents(Protocol):
    def record(self, pod: Pod, event: PodEvent) -> None:
        """Notes that something happened; returns at once and never fails."""


def describe_begin(action: Action) -> PodEvent | None:
    """What is told before the action."""
    if isinstance(action, StopContainer):
        message = action.why or f"Stopping container {action.container}"
        return PodEvent("Killing", message, action.container)
    return None


def describe_success(pod: Pod, action: Action, result: ActionResult) -> PodEvent | None:
    match action, result:
        case EnsureImage(), ImageEnsured(image):
            return PodEvent(
                "Pulled", _describe_image(_image_name(pod, action), image.pulled), action.container
            )
        case CreateContainer(), _:
            return PodEvent("Created", f"Created container: {action.container}", action.container)
        case StartContainer(), _:
            return PodEvent("Started", f"Started container {action.container}", action.container)
        case RunPreStopHook(), HookFailed(message):
            return PodEvent("FailedPreStopHook", message, action.container, warning=True)
        case RunPostStartHook(), HookFailed(message):
            return PodEvent("FailedPostStartHook", message, action.container, warning=True)
        case _:
            return None


def describe_failure(pod: Pod, action: Action, failure: Failure) -> PodEvent:
    container = getattr(action, "container", "")
    reason, message = failure.reason, failure.message
    match action:
        case RunPodSandbox():
            message = f"Failed to create pod sandbox: {message}"
        case EnsureImage() if reason == "ErrImagePull":
            reason, message = "Failed", f'Failed to pull image "{_image_name(pod, action)}": {message}'
        case EnsureImage() if reason == "ImagePullBackOff":
            reason = "BackOff"
        case CreateContainer() | StartContainer():
            reason, message = "Failed", f"Error: {message}"
        case _:
            pass
    return PodEvent(reason, message, container, warning=True)


def describe_probe_failure(failure: ProbeFailure) -> PodEvent:
    what = failure.kind.value.capitalize()
    return PodEvent("Unhealthy", f"{what} probe failed: {failure.message}", failure.container, warning=True)


def describe_crash_loops(pod: Pod, status: PodStatus) -> Iterator[PodEvent]:
    """One for each container that `status` newly shows in CrashLoopBackOff, against the pod's own status."""
    known = {_crash_looping(container) for container in _list_statuses(pod.status)}
    meta = pod.metadata
    for container in _list_statuses(status):
        if (crashed := _crash_looping(container)) is not None and crashed not in known:
            where = f"in pod {meta.name}_{meta.namespace}({meta.uid})"
            message = f"Back-off restarting failed container {container.name} {where}"
            yield PodEvent("BackOff", message, container.name, warning=True)


def _crash_looping(status: ContainerStatus) -> str | None:
    """The id of the container whose exit is waited out, if one is."""
    waiting = status.state.waiting
    return status.container_id if waiting is not None and waiting.reason == "CrashLoopBackOff" else None


def _list_statuses(status: PodStatus) -> tuple[ContainerStatus, ...]:
    return (*status.init_container_statuses, *status.container_statuses)


def _image_name(pod: Pod, action: EnsureImage) -> str:
    container = find_container(pod, action.container)
    return container.image if container is not None else ""


def _describe_image(name: str, pulled: bool) -> str:
    if pulled:
        return f'Successfully pulled image "{name}"'
    return f'Container image "{name}" already present on machine'
