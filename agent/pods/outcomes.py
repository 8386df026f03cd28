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
    UpdatePodCgroup,
)
from agent.pods.backoff import RETRY
from agent.pods.config.environment import CONFIG_ERROR
from agent.pods.observed import ObservedContainer
from agent.pods.plan import failure_key
from agent.pods.ports import ContainerID, HostVolume, LocalImage, SandboxID, Unavailable
from agent.pods.progress import Failure, Progress, ReadyImage, with_entry, without_entry
from agent.runtime.errors import RuntimeNameReserved, RuntimeNotFound, RuntimeReadyOnRetry
from kubeapi.pod import ResourceRequirements

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

_CONFIG_KEYS: Final = frozenset(failure_key(action) for action in (PrepareVolumes(), RefreshVolumes()))


_MAKES_SOMETHING: Final = ("RunPodSandbox:", "CreateContainer:")


@dataclass(frozen=True, slots=True)
class VolumesPrepared:
    volumes: Mapping[str, HostVolume]


@dataclass(frozen=True, slots=True)
class ImageEnsured:
    image: LocalImage


@dataclass(frozen=True, slots=True)
class SandboxMade:
    """The runtime's answer to RunPodSandbox."""

    sandbox_id: SandboxID
    attempt: int


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """StartContainer was answered."""

    container_id: ContainerID


@dataclass(frozen=True, slots=True)
class ContainerCreated:
    """The runtime's answer to CreateContainer, as the next list would show it."""

    container: ObservedContainer


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The hook ran and didn't succeed."""

    message: str


@dataclass(frozen=True, slots=True)
class ContainerResized:
    """The container has these resources from now on."""

    container_id: ContainerID
    resources: ResourceRequirements


ActionResult = (
    VolumesPrepared
    | ImageEnsured
    | SandboxMade
    | ContainerCreated
    | ContainerStarted
    | ContainerResized
    | HookFailed
    | None
)


def note_begin(progress: Progress, action: Action) -> Progress:
    """The action starts and reads its sources now: a change from here on may be one that it missed."""
    if isinstance(action, PrepareVolumes | RefreshVolumes):
        return replace(progress, volumes_stale=False)
    return progress


def note_config_change(progress: Progress, has_volumes: bool) -> Progress:
    """A ConfigMap or Secret of the pod changed: volumes are written again, and what failed for want of it is
    tried at once.
    """
    for key, failure in progress.failures.items():
        if key in _CONFIG_KEYS or failure.reason == CONFIG_ERROR:
            progress = progress.without_failure(key)
    return replace(progress, volumes_stale=has_volumes)


def note_success(progress: Progress, action: Action, result: ActionResult) -> Progress:
    """The action is done."""
    progress = progress.without_failure(failure_key(action))
    match action, result:
        case PrepareVolumes(), VolumesPrepared(volumes):
            return replace(progress, volumes=volumes, volumes_removed=False)
        case EnsureImage(), ImageEnsured(image):
            ready = ReadyImage(action.attempt, image)
            return replace(progress, images=with_entry(progress.images, action.container, ready))
        case StartContainer(), _:
            return _forget_launch_failures(progress, action)
        case CreateContainer(), _:
            progress = _skip_attempt(progress, action)
            return replace(progress, images=without_entry(progress.images, action.container))
        case RunPodSandbox(), _:
            return _skip_attempt(progress, action)
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
        case UpdatePodCgroup(), _:
            return replace(progress, pod_limits=action.limits)
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
    if isinstance(action, RunPodSandbox | CreateContainer) and _is_refused_for_good(error):
        # The holder, if it lives, is seen at the next look and adopted; else its name is skipped.
        progress = _skip_attempt(progress, action)
    if isinstance(action, RefreshVolumes):
        progress = replace(progress, volumes_stale=True)
    if isinstance(error, RuntimeNotFound) and isinstance(action, CreateContainer):
        progress = replace(progress, images=without_entry(progress.images, action.container))
    key = failure_key(action)
    before = progress.failures.get(key)
    count = before.count + 1 if before else 1
    retry_at = now + _choose_delay(error, count, random)
    call = progress.in_flight.get(action.key)
    first_at = before.first_at if before else (call.since if call else now)
    reason, message = _choose_reason(action, error), _choose_message(action, error)
    return progress.with_failure(key, Failure(reason, message, now, retry_at, count, first_at))


def is_in_doubt(progress: Progress, looked_at: float, now: float) -> bool:
    """Whether something may be made again that the runtime, last asked at `looked_at`, may show by now."""
    failures = (failure for key, failure in progress.failures.items() if key.startswith(_MAKES_SOMETHING))
    return any(looked_at < failure.retry_at <= now for failure in failures)


def _choose_delay(error: Exception, count: int, random: float) -> float:
    """What the error says, where it knows; trying earlier is in vain then."""
    if isinstance(error, Unavailable) and error.retry_seconds is not None:
        return max(error.retry_seconds, 0.0)
    return RETRY.delay(count - 1, random)


def _is_refused_for_good(error: Exception) -> bool:
    return isinstance(error, RuntimeNameReserved) and not isinstance(error, RuntimeReadyOnRetry)


def _skip_attempt(progress: Progress, action: RunPodSandbox | CreateContainer) -> Progress:
    """No other call has this attempt's name: numbers only grow, also past what was removed."""
    floors = with_entry(progress.attempt_floors, action.key, action.attempt + 1)
    return replace(progress, attempt_floors=floors)


def _forget_launch_failures(progress: Progress, started: StartContainer) -> Progress:
    """A container that started has nothing to wait for any more."""
    for kind in ("EnsureImage", "CreateContainer", "StartContainer"):
        progress = progress.without_failure(f"{kind}:{started.key}")
    return progress


def _choose_reason(action: Action, error: Exception) -> str:
    if isinstance(error, Unavailable):
        return error.reason
    return _REASONS.get(type(action).__name__, f"Failed{type(action).__name__}")


def _choose_message(action: Action, error: Exception) -> str:
    if isinstance(error, Unavailable):
        return error.message
    # A timeout of asyncio's own has no text.
    return str(error) or f"{type(action).__name__} was given up: it did not end in time"
