"""Which pods a ReplicaSet gives up first when it has too many.

Pure. Called by `controlplane.controllers.replicaset.plan`. Follows the "Pod deletion cost" section of the
ReplicaSet page of the Kubernetes documentation and the order that upstream documents there: not yet placed,
not running, not ready, cheap, crowded, ready for a short time, often restarted, young.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from math import log2
from typing import Final

from controlplane.controllers.pod_state import is_pod_active, is_pod_ready, read_ready_time
from kubeapi.meta import parse_time
from kubeapi.pod import Pod

DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANKS: Final = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}

Rank = tuple[bool, int, bool, int, int, float, int, float, str]


def order_for_deletion(pods: Iterable[Pod], siblings: Iterable[Pod], now: datetime) -> tuple[Pod, ...]:
    """The pods, the first to go first; `siblings` are all pods of the same owner's owner, these included."""
    crowd = Counter(pod.spec.node_name for pod in siblings if pod.spec.node_name and is_pod_active(pod))
    return tuple(sorted(pods, key=lambda pod: _rank(pod, crowd, now)))


def _rank(pod: Pod, crowd: Counter[str], now: datetime) -> Rank:
    ready_time = read_ready_time(pod)
    created = pod.metadata.creation_timestamp
    restarts = max((status.restart_count for status in pod.status.container_statuses), default=0)
    return (
        bool(pod.spec.node_name),
        _PHASE_RANKS.get(pod.status.phase, 2),
        is_pod_ready(pod),
        _read_deletion_cost(pod),
        -crowd[pod.spec.node_name],
        _age_class(ready_time, now),
        -restarts,
        _age_class(parse_time(created) if created else None, now),
        pod.metadata.uid,
    )


def _age_class(since: datetime | None, now: datetime) -> float:
    """Ages in powers of two: a few seconds' difference must not always hit the same node."""
    if since is None:
        return 0.0
    return float(int(log2(max(1.0, (now - since).total_seconds()))))


def _read_deletion_cost(pod: Pod) -> int:
    """A cost that is no whole number counts as none."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST_ANNOTATION, "0"))
    except ValueError:
        return 0
