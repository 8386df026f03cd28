"""From when on a call in flight for a pod counts as hanging, and how that is told.

Pure. Called by the lanes, which set a timer for each call, by the container statuses and the waits. A call
that hangs is told of, never given up for it: what ends it is its own deadline.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from agent.pods.actions import (
    Action,
    CreateContainer,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RemovePodSandbox,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.goal import find_container
from agent.pods.progress import InFlight, Progress
from kubeapi.meta import format_time
from kubeapi.pod import Pod

OVERDUE_SECONDS: Final = 20.0
"""Long enough for everything that works, on a busy machine too (the slowest, RunPodSandbox, takes seconds
there); short enough that a pod names what hangs within 30 s, with time left for the status to be written.
"""


def build_call(action: Action, pod: Pod, now: float) -> InFlight:
    """The call that this action makes, as of now."""
    kill_at = action.kill_at if isinstance(action, StopContainer | RunPreStopHook) else None
    return InFlight(type(action).__name__, now, kill_at, target=_name_target(action, pod))


def compute_overdue_at(call: InFlight) -> float:
    """When the call counts as hanging; a stop is given its grace period on top."""
    patience_from = call.since
    if call.kill_at is not None:
        patience_from = max(call.since, call.kill_at)
    return patience_from + OVERDUE_SECONDS


def mark_overdue(call: InFlight) -> InFlight:
    """The call with a sentence that names it, its target and since when."""
    return replace(call, overdue=f"{describe_call(call)} has not returned since {format_instant(call.since)}")


def describe_call(call: InFlight) -> str:
    """`RunPodSandbox of attempt 0`, `StopContainer of container web`."""
    return f"{call.what} of {call.target}" if call.target else call.what


def find_overdue(progress: Progress, container: str) -> str:
    """What hangs and keeps this container from starting; empty when nothing does."""
    for key in (f"container/{container}", "sandbox", "volumes"):
        call = progress.in_flight.get(key)
        if call is not None and call.overdue:
            return call.overdue
    return progress.unreadable


def format_instant(seconds: float) -> str:
    """The API's Time."""
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _name_target(action: Action, pod: Pod) -> str:
    match action:
        case EnsureImage():
            found = find_container(pod, action.container)
            return f'image "{found.image}"' if found is not None else f"container {action.container}"
        case RunPodSandbox():
            return f"attempt {action.attempt}"
        case StopPodSandbox() | RemovePodSandbox():
            return f"sandbox {action.sandbox_id[:13]}"
        case CreateContainer() | StartContainer() | StopContainer() | RemoveContainer():
            return f"container {action.container}"
        case RunPreStopHook() | RunPostStartHook():
            return f"container {action.container}"
        case PrepareVolumes() | RefreshVolumes() | RemoveVolumes():
            return ", ".join(volume.name for volume in pod.spec.volumes)
        case _:
            return ""
