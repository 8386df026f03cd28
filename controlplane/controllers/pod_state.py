"""What the controllers read from a pod: active, ready, available, and since when.

Pure. Follows the "Pod Lifecycle" page of the Kubernetes documentation.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controlplane.controllers.conditions import get_condition
from kubeapi.meta import parse_time
from kubeapi.pod import Pod

_FINISHED_PHASES = ("Succeeded", "Failed")


def is_pod_finished(pod: Pod) -> bool:
    return pod.status.phase in _FINISHED_PHASES


def is_pod_active(pod: Pod) -> bool:
    """Counts as a replica: neither finished nor being deleted."""
    return not is_pod_finished(pod) and pod.metadata.deletion_timestamp is None


def is_pod_ready(pod: Pod) -> bool:
    condition = get_condition(pod.status.conditions, "Ready")
    return condition is not None and condition.status == "True"


def read_ready_time(pod: Pod) -> datetime | None:
    """Since when the pod is ready; None when it isn't."""
    condition = get_condition(pod.status.conditions, "Ready")
    if condition is None or condition.status != "True" or condition.last_transition_time is None:
        return None
    return parse_time(condition.last_transition_time)


def seconds_until_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """0 for a pod that is available now; None for one that isn't ready."""
    if not is_pod_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = read_ready_time(pod)
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=min_ready_seconds) - now).total_seconds())
