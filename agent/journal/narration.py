"""Which of a pod's doings become lines of its timeline, and in which words.

Pure. Called by `recorder`. Messages leave out what containers printed: output of hooks and probes, and
termination messages, may hold anything.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Final

from agent.journal.entry import Entry, shorten
from agent.pods.actions import Action, RunPostStartHook, RunPreStopHook
from agent.pods.goal import Ending, Termination
from agent.pods.outcomes import ActionResult, HookFailed, ImageEnsured
from agent.pods.progress import Failure
from kubeapi.meta import parse_time
from kubeapi.pod import ContainerStateTerminated, ContainerStatus, Pod, PodStatus

_TOLD_CONDITIONS: Final = ("PodReadyToStartContainers", "Initialized", "Ready", "DisruptionTarget")
_SIGNAL_BASE: Final = 128


def narrate_arrival(pod: Pod, source: str, now: float) -> Iterator[Entry]:
    """What happened before this node saw the pod, as far as its object says, and that it did."""
    scheduled = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    if pod.metadata.creation_timestamp:
        yield Entry(at=parse_time(pod.metadata.creation_timestamp).timestamp(), what="created")
    if source == "api" and scheduled is not None and scheduled.last_transition_time:
        yield Entry(at=parse_time(scheduled.last_transition_time).timestamp(), what="scheduled")
    yield Entry(at=now, what="seen", message=f"from {_SOURCES.get(source, source)}")


_SOURCES: Final = {"api": "the API server", "file": "a file of this node", "runtime": "the runtime alone"}


def narrate_end_of_action(
    action: Action, began_at: float, now: float, result: ActionResult, failure: Failure | None
) -> Entry:
    """An action that is over; `failure` if it failed."""
    message = _describe_result(action, result) if failure is None else _describe_failure(failure)
    return Entry(
        at=now,
        what=type(action).__name__,
        kind="action",
        target=getattr(action, "container", ""),
        seconds=round(max(now - began_at, 0.0), 4),
        failed=failure is not None or isinstance(result, HookFailed),
        reason=failure.reason if failure is not None else "",
        message=shorten(message),
    )


def _describe_result(action: Action, result: ActionResult) -> str:
    match result:
        case ImageEnsured(image):
            return "pulled" if image.pulled else "already present"
        case HookFailed(message):
            return message.partition(": ")[0] if isinstance(action, RunPreStopHook | RunPostStartHook) else ""
        case _:
            return str(getattr(action, "why", ""))


def _describe_failure(failure: Failure) -> str:
    return f"{failure.message} (try {failure.count})" if failure.count > 1 else failure.message


def narrate_end(termination: Termination, now: float) -> Entry:
    """The pod has to go."""
    match termination.ending:
        case Ending.DELETED:
            what, why = "deletion asked", f"grace period {termination.grace_seconds} s"
        case Ending.GONE:
            what, why = "no longer wanted", f"no source has it; grace period {termination.grace_seconds} s"
        case Ending.FAILED:
            what, why = "failed for good", termination.message
    return Entry(at=now, what=what, reason=termination.reason, message=shorten(why))


def narrate_status(before: PodStatus, after: PodStatus, now: float) -> Iterator[Entry]:
    """What changed between two statuses of the pod."""
    known = {status.name: status for status in _list_statuses(before)}
    for status in _list_statuses(after):
        yield from _narrate_container(known.get(status.name), status, now)
    conditions = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        old = conditions.get(condition.type)
        changed = old is None or old.status != condition.status
        if condition.type in _TOLD_CONDITIONS and changed and (old is not None or condition.status == "True"):
            what = condition.type if condition.status == "True" else f"not {condition.type}"
            yield Entry(at=now, what=what, reason=condition.reason, message=shorten(condition.message))
    if before.phase != after.phase and after.phase:
        yield Entry(at=now, what=f"phase {after.phase}", reason=after.reason, message=shorten(after.message))


def _list_statuses(status: PodStatus) -> tuple[ContainerStatus, ...]:
    return (
        *status.init_container_statuses,
        *status.container_statuses,
        *status.ephemeral_container_statuses,
    )


def _narrate_container(before: ContainerStatus | None, after: ContainerStatus, now: float) -> Iterator[Entry]:
    name = after.name
    ended = after.state.terminated or after.last_state.terminated
    known = (before.state.terminated or before.last_state.terminated) if before is not None else None
    if ended is not None and (known is None or known.container_id != ended.container_id):
        yield Entry(
            at=now,
            what="exited",
            target=name,
            failed=ended.exit_code != 0,
            reason=ended.reason,
            message=_describe_exit(ended),
        )
    yield from _narrate_waiting(before, after, now)
    if before is not None and after.state.running is not None and before.ready != after.ready:
        yield Entry(at=now, what="ready" if after.ready else "not ready", target=name)


def _narrate_waiting(before: ContainerStatus | None, after: ContainerStatus, now: float) -> Iterator[Entry]:
    """Only a wait with a reason of its own; that a container is being made its actions tell, and with what
    words one failed.
    """
    waiting = after.state.waiting
    old = before.state.waiting.reason if before is not None and before.state.waiting is not None else ""
    if waiting is None or waiting.reason in ("ContainerCreating", "PodInitializing", old):
        return
    message = waiting.message.partition(" restarting")[0] if waiting.reason == "CrashLoopBackOff" else ""
    yield Entry(at=now, what="waiting", target=after.name, reason=waiting.reason, message=message)


def _describe_exit(ended: ContainerStateTerminated) -> str:
    """The exit code, and the signal that it stands for."""
    number = ended.signal or ended.exit_code - _SIGNAL_BASE
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    return f"exit code {ended.exit_code}{name}"
