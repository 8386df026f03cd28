"""What `berth explain pod -o json` prints: one pod's story as a plain document.

Pure. Times are the API's, with fractions of a second; durations are seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agent.journal.entry import Entry, Heartbeat
from agent.journal.read import PodStory
from agent.journal.timeline import Phase, compute_phases
from agent.pods.waits import Wait
from kubeapi.meta import format_micro_time


def build_document(story: PodStory, heartbeat: Heartbeat | None) -> dict[str, Any]:
    """Everything that is known of the pod; `asOf` is the agent's last sign of life."""
    picture = story.picture
    return {
        "pod": {
            "namespace": story.pod.namespace,
            "name": story.pod.name,
            "uid": story.pod.uid,
            "source": story.pod.source,
        },
        "node": heartbeat.node if heartbeat is not None else "",
        "asOf": _time(heartbeat.at if heartbeat is not None else None),
        "gone": picture is None,
        "phase": picture.phase if picture is not None else "",
        "ready": picture.ready if picture is not None else False,
        "waits": [_describe_wait(wait) for wait in (picture.waits if picture is not None else ())],
        "phases": [_describe_phase(phase) for phase in compute_phases(story.entries)],
        "timeline": [_describe_entry(entry) for entry in story.entries],
        "complete": not story.cut,
    }


def _describe_wait(wait: Wait) -> dict[str, Any]:
    call = {"name": wait.call.name, "since": _time(wait.call.since)} if wait.call is not None else None
    return {
        "what": wait.what,
        "reason": wait.reason,
        "message": wait.message,
        "since": _time(wait.since),
        "nextRetry": _time(wait.next_retry),
        "callInFlight": call,
    }


def _describe_phase(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "container": phase.target,
        "began": _time(phase.began_at),
        "seconds": round(phase.seconds, 4),
        "tries": phase.tries,
        "done": phase.done,
        "runs": phase.runs,
    }


def _describe_entry(entry: Entry) -> dict[str, Any]:
    return {
        "time": _time(entry.at),
        "kind": entry.kind,
        "what": entry.what,
        "container": entry.target,
        "seconds": entry.seconds,
        "failed": entry.failed,
        "reason": entry.reason,
        "message": entry.message,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else format_micro_time(datetime.fromtimestamp(seconds, UTC))
