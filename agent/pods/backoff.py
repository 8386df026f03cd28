"""When a container that exited may start again.

Pure. Called by the plans. The delay that follows a container's exit is decided when that container is created
and kept in its annotation, so a restart of the agent changes nothing. Follows the "Container restart policy"
section of the Pod lifecycle page: at once after the first exit, then 10 s doubling to 5 min, reset by a run
of 10 min.
"""

from __future__ import annotations

from typing import Final

from agent.pods.observed import ObservedContainer
from kubeapi.backoff import Backoff

CRASH_INITIAL_SECONDS: Final = 10.0
CRASH_MAXIMUM_SECONDS: Final = 300.0
CRASH_RESET_SECONDS: Final = 600.0

RETRY: Final = Backoff(initial_seconds=0.5, maximum_seconds=30.0)
"""For an action that failed: what it needs may come soon, and containers aren't to be hammered with attempts.
"""


def compute_next_backoff(previous: ObservedContainer | None) -> float:
    """The delay to keep for the exit of the attempt that follows `previous`; 0 for a first attempt."""
    if previous is None:
        return 0.0
    if _is_no_crash(previous):
        return previous.backoff_seconds
    if previous.backoff_seconds <= 0 or ran_long(previous):
        return CRASH_INITIAL_SECONDS
    return min(previous.backoff_seconds * 2, CRASH_MAXIMUM_SECONDS)


def compute_restart_time(exited: ObservedContainer) -> float:
    """From when on the next attempt may be made, in seconds since the epoch."""
    finished = exited.finished_at or exited.created_at
    if _is_no_crash(exited):
        return finished
    return finished if ran_long(exited) else finished + exited.backoff_seconds


def _is_no_crash(exited: ObservedContainer) -> bool:
    """Whether others than the container itself are why it starts again."""
    return exited.cut_short or exited.replaced or (exited.superseded and not exited.restarts_all)


def ran_long(exited: ObservedContainer) -> bool:
    """True when the attempt ran long enough to be forgiven for earlier crashes."""
    started = exited.started_at or exited.created_at
    return (exited.finished_at or started) - started >= CRASH_RESET_SECONDS
