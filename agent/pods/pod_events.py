"""Which of a lane's doings are worth an Event, and in which words.

Pure. Called by the lanes; the recorder writes them. Reasons are those `kubectl describe pod` shows on any
cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.pods.actions import (
    Action,
    CreateContainer,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
)
from agent.pods.outcomes import ActionResult, HookFailed
from agent.pods.progress import Failure
from kubeapi.pod import Pod


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


def describe_success(action: Action, result: ActionResult) -> PodEvent | None:
    match action, result:
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


def describe_failure(action: Action, failure: Failure) -> PodEvent:
    container = getattr(action, "container", "")
    match action:
        case RunPodSandbox():
            message = f"Failed to create pod sandbox: {failure.message}"
        case CreateContainer() | StartContainer():
            return PodEvent("Failed", f"Error: {failure.message}", container, warning=True)
        case _:
            message = failure.message
    reason = "Failed" if failure.reason == "ErrImagePull" else failure.reason
    reason = "BackOff" if reason == "ImagePullBackOff" else reason
    return PodEvent(reason, message, container, warning=True)
