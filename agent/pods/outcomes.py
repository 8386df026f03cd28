"""What a lane remembers of an action that ended: success, refusal, or an outcome nobody knows.

Pure. Called by the lanes with what `execute` returned or raised. An unknown outcome changes nothing but the
time of the next attempt: the next look finds what came of it by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from agent.pods.actions import (
    Action,
    CreateContainer,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemovePodFiles,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.backoff import RETRY
from agent.pods.observed import ObservedContainer
from agent.pods.plan import failure_key
from agent.pods.ports import HostVolume, LocalImage, Unavailable
from agent.pods.progress import Failure, Progress, ReadyImage, with_entry, without_entry
from agent.runtime.errors import RuntimeNameReserved, RuntimeNotFound

_REASONS: Final = MappingProxyType(
    {
        "RunPodSandbox": "FailedCreatePodSandBox",
        "PrepareVolumes": "FailedMount",
        "EnsureImage": "ErrImagePull",
        "CreateContainer": "CreateContainerError",
        "StartContainer": "RunContainerError",
        "StopContainer": "FailedKillContainer",
        "StopPodSandbox": "FailedKillPod",
    }
)


@dataclass(frozen=True, slots=True)
class VolumesPrepared:
    volumes: Mapping[str, HostVolume]


@dataclass(frozen=True, slots=True)
class ImageEnsured:
    image: LocalImage


@dataclass(frozen=True, slots=True)
class ContainerCreated:
    """The runtime's answer to CreateContainer, as the next list would show it."""

    container: ObservedContainer


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The hook ran and didn't succeed."""

    message: str


ActionResult = VolumesPrepared | ImageEnsured | ContainerCreated | HookFailed | None


def note_success(progress: Progress, action: Action, result: ActionResult) -> Progress:
    """The action is done."""
    progress = progress.without_failure(failure_key(action))
    match action, result:
        case PrepareVolumes(), VolumesPrepared(volumes):
            return replace(progress, volumes=volumes, volumes_stale=False, volumes_removed=False)
        case RefreshVolumes(), _:
            return replace(progress, volumes_stale=False)
        case EnsureImage(), ImageEnsured(image):
            ready = ReadyImage(action.attempt, image)
            return replace(progress, images=with_entry(progress.images, action.container, ready))
        case StartContainer(), _:
            return _forget_launch_failures(progress, action)
        case CreateContainer(), _:
            return replace(progress, images=without_entry(progress.images, action.container))
        case RunPreStopHook(), _:
            return replace(progress, pre_stopped=progress.pre_stopped | {action.container_id})
        case RunPostStartHook(), HookFailed():
            return replace(progress, hook_failed=progress.hook_failed | {action.container_id})
        case RunPostStartHook(), _:
            return replace(progress, post_started=progress.post_started | {action.container_id})
        case StopContainer(), _:
            return replace(progress, stopped=progress.stopped | {action.container_id})
        case StopPodSandbox(), _:
            return replace(progress, stopped=progress.stopped | {action.sandbox_id})
        case RemoveVolumes(), _:
            return replace(progress, volumes=None, volumes_removed=True)
        case RemovePodFiles(), _:
            return replace(progress, files_removed=True)
        case DeletePod(), _:
            return replace(progress, object_deleted=True)
        case _:
            return progress


def note_failure(progress: Progress, action: Action, error: Exception, now: float, random: float) -> Progress:
    """The action failed, or nobody knows; it may be tried again at the failure's `retry_at`."""
    if isinstance(error, RuntimeNameReserved) and isinstance(action, RunPodSandbox | CreateContainer):
        # The holder, if it lives, is seen at the next look and adopted; else its name is skipped.
        floors = with_entry(progress.attempt_floors, action.key, action.attempt + 1)
        progress = replace(progress, attempt_floors=floors)
    if isinstance(error, RuntimeNotFound) and isinstance(action, CreateContainer):
        progress = replace(progress, images=without_entry(progress.images, action.container))
    key = failure_key(action)
    before = progress.failures.get(key)
    count = before.count + 1 if before else 1
    retry_at = now + RETRY.delay(count - 1, random)
    return progress.with_failure(
        key, Failure(_choose_reason(action, error), _choose_message(error), now, retry_at, count)
    )


def _forget_launch_failures(progress: Progress, started: StartContainer) -> Progress:
    """A container that started has nothing to wait for any more."""
    for kind in ("EnsureImage", "CreateContainer", "StartContainer"):
        progress = progress.without_failure(f"{kind}:{started.key}")
    return progress


def _choose_reason(action: Action, error: Exception) -> str:
    if isinstance(error, Unavailable):
        return error.reason
    return _REASONS.get(type(action).__name__, f"Failed{type(action).__name__}")


def _choose_message(error: Exception) -> str:
    return error.message if isinstance(error, Unavailable) else str(error)
