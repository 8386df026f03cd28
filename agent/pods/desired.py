"""How the sources' view of a pod, and what the node remembers of it, become a goal.

Pure. Called by the lanes at each look. `PodRecord` is the memory: it decides nothing here but since when
things hold.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.checkpoint.records import PodRecord
from agent.pods.goal import Ending, PodGoal, Termination
from agent.pods.lifecycle import TERMINAL_PHASES
from agent.pods.observed import GRACE_ANNOTATION, ObservedPod
from agent.pods.ports import ContainerID
from agent.pods.progress import Progress
from agent.pods.status.conditions import OWN_TYPES
from agent.runtime.values import (
    CONTAINER_NAME_LABEL,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    RuntimeContainer,
    RuntimeSandbox,
)
from kubeapi.meta import ObjectMeta, parse_time
from kubeapi.pod import Container, Pod, PodSpec, PodStatus

_DEADLINE_REASON: Final = "DeadlineExceeded"
_DEADLINE_MESSAGE: Final = "Pod was active on the node longer than the specified deadline"
_MINIMUM_GRACE: Final = 1
_DEFAULT_GRACE: Final = 30


def compute_goal(record: PodRecord, now: float) -> PodGoal:
    """The pod, and its end if it has to end; `since` counts from `terminating_since` where that is known."""
    pod = record.pod
    since = record.terminating_since if record.terminating_since is not None else now
    return PodGoal(pod, _compute_termination(record, since, now), record.start_time, record.resources)


def _compute_termination(record: PodRecord, since: float, now: float) -> Termination | None:
    pod = record.pod
    if record.gone:
        return Termination(Ending.GONE, since, _choose_grace(pod))
    if pod.metadata.deletion_timestamp is not None:
        return Termination(Ending.DELETED, since, _choose_grace(pod))
    if record.rejection is not None:
        reason, message = record.rejection
        return Termination(Ending.FAILED, since, _choose_grace(pod), reason, message, record.disrupted)
    if is_past_deadline(record, now):
        return Termination(Ending.FAILED, since, _choose_grace(pod), _DEADLINE_REASON, _DEADLINE_MESSAGE)
    return None


def _choose_grace(pod: Pod) -> int:
    asked = pod.metadata.deletion_grace_period_seconds
    seconds = pod.spec.termination_grace_period_seconds if asked is None else asked
    return max(seconds, _MINIMUM_GRACE)


def compute_deadline(record: PodRecord) -> float | None:
    """When the pod has been active for too long, in seconds since the epoch.

    Counted from the start that its status tells. A pod that ended by itself has none any more; one that ended
    by its deadline is past it for good.
    """
    seconds, status = record.pod.spec.active_deadline_seconds, record.pod.status
    if seconds is None or (status.phase in TERMINAL_PHASES and status.reason != _DEADLINE_REASON):
        return None
    begun = parse_time(status.start_time).timestamp() if status.start_time else record.start_time
    return begun + seconds


def is_past_deadline(record: PodRecord, now: float) -> bool:
    deadline = compute_deadline(record)
    return deadline is not None and now >= deadline


def keep_deletion(known: Pod, new: Pod) -> Pod:
    """`new`, with the end that the pod is already known to have: it can't be undone, nor put off.

    What a source says may be older than what it said before.
    """
    known_meta, meta = known.metadata, new.metadata
    if known_meta.deletion_timestamp is None:
        return new
    graces = (known_meta.deletion_grace_period_seconds, meta.deletion_grace_period_seconds)
    metadata = msgspec.structs.replace(
        meta,
        deletion_timestamp=meta.deletion_timestamp or known_meta.deletion_timestamp,
        deletion_grace_period_seconds=min((grace for grace in graces if grace is not None), default=None),
    )
    return msgspec.structs.replace(new, metadata=metadata)


def merge_status(known: PodStatus, from_api: PodStatus) -> PodStatus:
    """Our own status goes on, with the conditions that others set as the API has them now."""
    if from_api == PodStatus():
        return known  # a static pod's file says nothing of its status
    own = [condition for condition in known.conditions if condition.type in OWN_TYPES]
    others = [condition for condition in from_api.conditions if condition.type not in OWN_TYPES]
    phase = from_api.phase if from_api.phase in TERMINAL_PHASES else known.phase
    return msgspec.structs.replace(known, conditions=(*own, *others), phase=phase)


def list_pre_stopped(progress: Progress, observed: ObservedPod) -> tuple[ContainerID, ...]:
    """The containers that are there and whose preStop hook mustn't run again, by no process."""
    return tuple(sorted({c.id for c in observed.containers if c.id in progress.pre_stopped}))


def list_post_started(pod: Pod, progress: Progress, observed: ObservedPod) -> tuple[ContainerID, ...] | None:
    """The containers that are there and whose postStart hook is behind them; None for a pod without hooks.

    A hook is delivered at least once: one that nobody has noted runs again.
    """
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    hooked = {each.name for each in containers if each.lifecycle and each.lifecycle.post_start}
    if not hooked:
        return None
    done = {c.id for c in observed.containers if c.name in hooked and c.id in progress.post_started}
    return tuple(sorted(done))


def was_admitted(pod: Pod) -> bool:
    """Whether an agent has had this pod before: it wrote a start time."""
    return pod.status.start_time is not None or pod.status.phase in TERMINAL_PHASES


def build_orphan(
    sandboxes: tuple[RuntimeSandbox, ...], containers: tuple[RuntimeContainer, ...]
) -> Pod | None:
    """A pod that only the runtime knows, as far as its labels tell; None when nothing tells its name."""
    metadata = _name_orphan(sandboxes, containers)
    if metadata is None:
        return None
    names = dict.fromkeys(c.labels.get(CONTAINER_NAME_LABEL, c.name) for c in containers)
    graces = [int(text) for c in containers if (text := c.annotations.get(GRACE_ANNOTATION, "")).isdigit()]
    return Pod(
        api_version="v1",
        kind="Pod",
        metadata=metadata,
        spec=PodSpec(
            containers=tuple(Container(name=name) for name in names),
            termination_grace_period_seconds=max(graces, default=_DEFAULT_GRACE),
        ),
    )


def _name_orphan(
    sandboxes: tuple[RuntimeSandbox, ...], containers: tuple[RuntimeContainer, ...]
) -> ObjectMeta | None:
    """From its sandbox, or from a container that was made while its sandbox went."""
    for sandbox in sandboxes:
        return ObjectMeta(name=sandbox.pod_name, namespace=sandbox.pod_namespace, uid=sandbox.pod_uid)
    for container in containers:
        labels = container.labels
        name, namespace = labels.get(POD_NAME_LABEL, ""), labels.get(POD_NAMESPACE_LABEL, "")
        if name and namespace:
            return ObjectMeta(name=name, namespace=namespace, uid=container.pod_uid)
    return None
