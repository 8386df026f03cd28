"""ReplicaSet: as many active pods of the template as `spec.replicas` says, and a status that counts them.

Pure. Called by `controlplane.controllers.replicaset.observe`. Observed pods must include our own writes
(see `cache`), or pods would be made twice. Follows the ReplicaSet page of the Kubernetes documentation and
API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from controlplane.controllers.actions import Action, Create, Delete, MergePatch, Plan
from controlplane.controllers.claim import build_claim_actions, compute_claim
from controlplane.controllers.conditions import remove_condition, set_condition
from controlplane.controllers.names import choose_names
from controlplane.controllers.pod_state import is_pod_active, is_pod_ready, seconds_until_available
from controlplane.controllers.replicaset.deletion_order import order_for_deletion
from controlplane.controllers.template import build_pod_document, parse_template
from controlplane.notes import Note
from kubeapi.apps import ReplicaSet, ReplicaSetStatus
from kubeapi.event_records import build_reference
from kubeapi.meta import Condition, ObjectKey
from kubeapi.pod import Pod
from kubeapi.resources import PODS, REPLICA_SETS
from kubeapi.selectors import build_label_selector

MOST_PODS_PER_LOOK: Final = 500


@dataclass(frozen=True, slots=True)
class ObservedReplicaSet:
    """`pods`: those that name the ReplicaSet as controller, and its namespace's orphans. `siblings`: all
    pods of the ReplicaSets with the same controller. `last_failure`: why the last creation was refused, or
    empty.
    """

    replica_set: ReplicaSet
    pods: tuple[Pod, ...] = ()
    siblings: tuple[Pod, ...] = ()
    last_failure: str = ""


def plan_replica_set(observed: ObservedReplicaSet, now: datetime) -> Plan:
    """Ownership first; then pods and status from the pods that are owned."""
    owner = observed.replica_set
    claim = compute_claim(owner, build_label_selector(owner.spec.selector), observed.pods)
    claiming = build_claim_actions(owner, REPLICA_SETS, PODS, claim)
    if claiming:
        return Plan(claiming)
    active = tuple(pod for pod in claim.owned if is_pod_active(pod))
    scaling: tuple[Action, ...] = ()
    if owner.metadata.deletion_timestamp is None:
        scaling = _plan_scaling(observed, active, now)
    status = _plan_status(owner, active, observed.last_failure, now)
    # What is refused again must not keep the refusal from being shown.
    actions = (*status, *scaling) if observed.last_failure else (*scaling, *status)
    return Plan(actions, _seconds_until_next_available(owner, active, now))


def _plan_scaling(observed: ObservedReplicaSet, active: tuple[Pod, ...], now: datetime) -> tuple[Action, ...]:
    missing = observed.replica_set.spec.replicas - len(active)
    if missing > 0:
        return _plan_creations(observed, min(missing, MOST_PODS_PER_LOOK), now)
    if missing < 0:
        doomed = order_for_deletion(active, observed.siblings or active, now)[:-missing]
        return tuple(_build_deletion(observed.replica_set, pod) for pod in doomed[:MOST_PODS_PER_LOOK])
    return ()


def _plan_creations(observed: ObservedReplicaSet, count: int, now: datetime) -> tuple[Action, ...]:
    owner = observed.replica_set
    taken = frozenset(pod.metadata.name for pod in observed.pods)
    seed = f"{owner.metadata.uid} {now.isoformat()}"
    return tuple(
        Create(
            PODS,
            ObjectKey(owner.metadata.namespace, name),
            build_pod_document(owner, owner.spec.template, name),
            Note(build_reference(REPLICA_SETS, owner), "SuccessfulCreate", f"Created pod: {name}"),
            failure_reason="FailedCreate",
        )
        for name in choose_names(owner.metadata.name, seed, count, taken)
    )


def _build_deletion(owner: ReplicaSet, pod: Pod) -> Delete:
    note = Note(build_reference(REPLICA_SETS, owner), "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
    return Delete(PODS, pod.key, pod.metadata.uid, note=note)


def _plan_status(
    owner: ReplicaSet, active: tuple[Pod, ...], last_failure: str, now: datetime
) -> tuple[Action, ...]:
    status = _compute_status(owner, active, last_failure, now)
    if status == owner.status:
        return ()
    body = {"status": _write_status(status)}
    return (MergePatch(REPLICA_SETS, owner.key, body, subresource="status"),)


def _compute_status(
    owner: ReplicaSet, active: tuple[Pod, ...], last_failure: str, now: datetime
) -> ReplicaSetStatus:
    labels = parse_template(owner.spec.template).metadata.labels.items()
    waits = [seconds_until_available(pod, owner.spec.min_ready_seconds, now) for pod in active]
    return msgspec.structs.replace(
        owner.status,
        replicas=len(active),
        fully_labeled_replicas=sum(labels <= pod.metadata.labels.items() for pod in active),
        ready_replicas=sum(is_pod_ready(pod) for pod in active),
        available_replicas=sum(wait == 0.0 for wait in waits),
        observed_generation=max(owner.status.observed_generation, owner.metadata.generation),
        conditions=_compute_conditions(owner.status.conditions, last_failure, now),
    )


def _compute_conditions(
    conditions: tuple[Condition, ...], last_failure: str, now: datetime
) -> tuple[Condition, ...]:
    if not last_failure:
        return remove_condition(conditions, "ReplicaFailure")
    refused = Condition(type="ReplicaFailure", status="True", reason="FailedCreate", message=last_failure)
    return set_condition(conditions, refused, now)


def _write_status(status: ReplicaSetStatus) -> dict[str, Any]:
    """Every count: a merge patch keeps what it doesn't name, and null takes a count of zero out."""
    return {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas or None,
        "readyReplicas": status.ready_replicas or None,
        "availableReplicas": status.available_replicas or None,
        "observedGeneration": status.observed_generation,
        "conditions": [msgspec.to_builtins(condition) for condition in status.conditions],
    }


def _seconds_until_next_available(owner: ReplicaSet, active: tuple[Pod, ...], now: datetime) -> float | None:
    waits = [seconds_until_available(pod, owner.spec.min_ready_seconds, now) for pod in active]
    return min((wait for wait in waits if wait), default=None)
