"""Deployment: one ReplicaSet for each template it has had, the newest grown and the others shrunk step by
step.

Pure. Called by `controlplane.controllers.deployment.observe`. Each look makes at most one step of a
rollout; the ReplicaSets' next statuses cause the next look. Follows the Deployment page of the Kubernetes
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from controlplane.controllers.actions import Action, Create, Delete, MergePatch, Plan
from controlplane.controllers.claim import build_claim_actions, compute_claim
from controlplane.controllers.deployment.revisions import (
    REVISION_ANNOTATION,
    build_replica_set_document,
    build_revision_annotations,
    build_size_annotations,
    choose_forgotten,
    compute_new_revision,
    compute_replica_set_name,
    find_new_replica_set,
)
from controlplane.controllers.deployment.rollout import (
    Sizes,
    compute_new_size,
    compute_old_sizes,
    compute_scaled_sizes,
    count_replicas,
    is_scaling,
)
from controlplane.controllers.deployment.status import (
    compute_status,
    is_complete,
    seconds_until_deadline,
    write_status,
)
from controlplane.controllers.pod_state import is_pod_finished
from controlplane.notes import Note
from kubeapi.apps import Deployment, ReplicaSet
from kubeapi.event_records import build_reference
from kubeapi.meta import LabelSelector, ObjectKey
from kubeapi.pod import Pod
from kubeapi.resources import DEPLOYMENTS, REPLICA_SETS
from kubeapi.selectors import build_label_selector


@dataclass(frozen=True, slots=True)
class ObservedDeployment:
    """`replica_sets`: those that name the Deployment as controller, and its namespace's orphans. `pods` by
    the UID of their ReplicaSet. `namesake`: whatever ReplicaSet has the name that a new one would get.
    """

    deployment: Deployment
    replica_sets: tuple[ReplicaSet, ...] = ()
    pods: Mapping[str, tuple[Pod, ...]] = field(default_factory=dict)
    namesake: ReplicaSet | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look does to the ReplicaSets, before the status."""

    sizes: Sizes
    create: int | None = None


def plan_deployment(observed: ObservedDeployment, now: datetime) -> Plan:
    """Ownership first; then one step of the rollout, and the status."""
    deployment = observed.deployment
    if deployment.spec.selector == LabelSelector():
        return Plan()
    selector = build_label_selector(deployment.spec.selector)
    claim = compute_claim(deployment, selector, observed.replica_sets)
    claiming = build_claim_actions(deployment, DEPLOYMENTS, REPLICA_SETS, claim)
    if claiming:
        return Plan(claiming)
    new = find_new_replica_set(deployment, claim.owned)
    old = tuple(each for each in claim.owned if each is not new)
    if deployment.metadata.deletion_timestamp is not None:
        return Plan(_plan_status(deployment, new, old, now))
    return _plan_rollout(observed, new, old, now)


def _plan_rollout(
    observed: ObservedDeployment, new: ReplicaSet | None, old: tuple[ReplicaSet, ...], now: datetime
) -> Plan:
    deployment = observed.deployment
    step = _choose_step(observed, new, old)
    if step.create is not None and observed.namesake is not None:
        return Plan(_plan_collision(deployment))
    revision = compute_new_revision(new, old)
    creating = compute_replica_set_name(deployment) if step.create is not None else ""
    actions = (
        *_plan_creation(deployment, step, revision),
        *_plan_patches(deployment, new, old, step.sizes, revision),
        *_plan_revision(deployment, revision if new is not None or creating else None),
        *_plan_status(deployment, new, old, now, creating=creating),
        *_plan_forgetting(deployment, new, old, now),
    )
    return Plan(actions, seconds_until_deadline(deployment, now))


def _choose_step(observed: ObservedDeployment, new: ReplicaSet | None, old: tuple[ReplicaSet, ...]) -> _Step:
    deployment = observed.deployment
    everything = (*old, *((new,) if new else ()))
    if is_scaling(deployment, everything):
        return _Step(compute_scaled_sizes(deployment, new, old))
    if deployment.spec.paused:
        running = sum(each.spec.replicas > 0 for each in everything)
        return _Step(compute_scaled_sizes(deployment, new, old) if running <= 1 else {})
    if deployment.spec.strategy.type == "Recreate":
        return _choose_recreate_step(observed, new, old)
    if new is None:
        return _Step({}, create=compute_new_size(deployment, 0, count_replicas(old)))
    size = compute_new_size(deployment, new.spec.replicas, count_replicas(everything))
    if size != new.spec.replicas:
        return _Step({new.metadata.name: size})
    return _Step(compute_old_sizes(deployment, new, old))


def _choose_recreate_step(
    observed: ObservedDeployment, new: ReplicaSet | None, old: tuple[ReplicaSet, ...]
) -> _Step:
    """Everything old goes, its last pod included, before the first new pod comes."""
    if any(each.spec.replicas for each in old):
        return _Step({each.metadata.name: 0 for each in old if each.spec.replicas})
    if any(_has_living_pods(observed, each) for each in old):
        return _Step({})
    wanted = observed.deployment.spec.replicas
    if new is None:
        return _Step({}, create=wanted)
    return _Step({new.metadata.name: wanted} if new.spec.replicas != wanted else {})


def _has_living_pods(observed: ObservedDeployment, replica_set: ReplicaSet) -> bool:
    """Pods that are being deleted still live; finished ones don't."""
    pods = observed.pods.get(replica_set.metadata.uid, ())
    return replica_set.status.replicas > 0 or any(not is_pod_finished(pod) for pod in pods)


def _plan_collision(deployment: Deployment) -> tuple[Action, ...]:
    """Another ReplicaSet has the name: count one more collision, which gives another hash."""
    body = {"status": {"collisionCount": (deployment.status.collision_count or 0) + 1}}
    return (MergePatch(DEPLOYMENTS, deployment.key, body, subresource="status"),)


def _plan_creation(deployment: Deployment, step: _Step, revision: int) -> tuple[Action, ...]:
    if step.create is None:
        return ()
    document = build_replica_set_document(deployment, step.create, revision)
    name = document["metadata"]["name"]
    note = _build_scaling_note(deployment, name, 0, step.create)
    key = ObjectKey(deployment.metadata.namespace, name)
    return (Create(REPLICA_SETS, key, document, note, failure_reason="ReplicaSetCreateError"),)


def _plan_patches(
    deployment: Deployment,
    new: ReplicaSet | None,
    old: tuple[ReplicaSet, ...],
    sizes: Sizes,
    revision: int,
) -> tuple[Action, ...]:
    """One patch for each ReplicaSet that must change: size, annotations, minReadySeconds."""
    patches = []
    for each in (*((new,) if new else ()), *old):
        size = sizes.get(each.metadata.name)
        resized = size is not None and size != each.spec.replicas
        annotations = build_size_annotations(deployment) if size is not None else {}
        spec: dict[str, Any] = {"replicas": size} if resized else {}
        if new is not None and each is new:
            annotations |= build_revision_annotations(deployment, new, revision)
            if each.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
                spec["minReadySeconds"] = deployment.spec.min_ready_seconds
        changed = {
            name: text for name, text in annotations.items() if each.metadata.annotations.get(name) != text
        }
        if changed or spec:
            patches.append(_build_patch(deployment, each, changed, spec))
    return tuple(patches)


def _build_patch(
    deployment: Deployment, replica_set: ReplicaSet, annotations: dict[str, str], spec: dict[str, Any]
) -> MergePatch:
    body: dict[str, Any] = {}
    if annotations:
        body["metadata"] = {"annotations": annotations}
    if spec:
        body["spec"] = spec
    note = None
    if "replicas" in spec:
        name, before = replica_set.metadata.name, replica_set.spec.replicas
        note = _build_scaling_note(deployment, name, before, spec["replicas"])
    return MergePatch(REPLICA_SETS, replica_set.key, body, note=note)


def _build_scaling_note(deployment: Deployment, name: str, before: int, after: int) -> Note | None:
    if before == after:
        return None
    direction = "up" if after > before else "down"
    said = f"Scaled {direction} replica set {name} from {before} to {after}"
    return Note(build_reference(DEPLOYMENTS, deployment), "ScalingReplicaSet", said)


def _plan_revision(deployment: Deployment, revision: int | None) -> tuple[Action, ...]:
    """The Deployment carries the revision of its newest ReplicaSet."""
    annotations = deployment.metadata.annotations
    if revision is None or annotations.get(REVISION_ANNOTATION) == str(revision):
        return ()
    body = {"metadata": {"annotations": {REVISION_ANNOTATION: str(revision)}}}
    return (MergePatch(DEPLOYMENTS, deployment.key, body),)


def _plan_forgetting(
    deployment: Deployment, new: ReplicaSet | None, old: tuple[ReplicaSet, ...], now: datetime
) -> tuple[Action, ...]:
    """History beyond the limit goes when the rollout is complete, or while it is paused."""
    status = compute_status(deployment, new, old, now)
    if not (deployment.spec.paused or is_complete(deployment, status)):
        return ()
    forgotten = choose_forgotten(deployment, old)
    return tuple(Delete(REPLICA_SETS, each.key, each.metadata.uid) for each in forgotten)


def _plan_status(
    deployment: Deployment,
    new: ReplicaSet | None,
    old: tuple[ReplicaSet, ...],
    now: datetime,
    *,
    creating: str = "",
) -> tuple[Action, ...]:
    status = compute_status(deployment, new, old, now, creating=creating)
    if status == deployment.status:
        return ()
    body = {"status": write_status(status)}
    return (MergePatch(DEPLOYMENTS, deployment.key, body, subresource="status"),)
