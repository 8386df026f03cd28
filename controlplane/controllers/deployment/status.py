"""A Deployment's status: counts over its ReplicaSets and the conditions Available, Progressing,
ReplicaFailure.

Pure. Called by `controlplane.controllers.deployment.plan`. Reasons and messages are upstream's, because
`kubectl rollout status` and people read them. Follows the "Deployment status" section of the Deployment
page.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from controlplane.controllers.conditions import get_condition, remove_condition, set_condition
from controlplane.controllers.deployment.rollout import compute_minimum_available, count_replicas
from kubeapi.apps import Deployment, DeploymentStatus, ReplicaSet
from kubeapi.meta import Condition, format_time, parse_time

NO_DEADLINE_SECONDS: Final = 2**31 - 1


def compute_status(
    deployment: Deployment,
    new: ReplicaSet | None,
    old: tuple[ReplicaSet, ...],
    now: datetime,
    *,
    creating: str = "",
) -> DeploymentStatus:
    """The status that these ReplicaSets amount to; `creating` names one that is being made now."""
    everything = (*old, *((new,) if new else ()))
    available = sum(each.status.available_replicas for each in everything)
    counted = msgspec.structs.replace(
        deployment.status,
        observed_generation=max(deployment.status.observed_generation, deployment.metadata.generation),
        replicas=sum(each.status.replicas for each in everything),
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(each.status.ready_replicas for each in everything),
        available_replicas=available,
        unavailable_replicas=max(0, count_replicas(everything) - available),
    )
    conditions = _set_available(deployment, counted, now)
    conditions = _set_replica_failure(conditions, everything, now)
    conditions = _set_progressing(
        deployment, msgspec.structs.replace(counted, conditions=conditions), new, now, creating
    )
    return msgspec.structs.replace(counted, conditions=conditions)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Every pod is of the new template and available, and none of an old one is left."""
    wanted = deployment.spec.replicas
    return (
        status.updated_replicas == wanted
        and status.replicas == wanted
        and status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def seconds_until_deadline(deployment: Deployment, now: datetime) -> float | None:
    """Until the rollout counts as stuck; None when it has no deadline, is finished, or is stuck already."""
    progressing = get_condition(deployment.status.conditions, "Progressing")
    if (
        deployment.spec.progress_deadline_seconds >= NO_DEADLINE_SECONDS
        or deployment.spec.paused
        or progressing is None
        or progressing.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
    ):
        return None
    since = parse_time(progressing.last_update_time or progressing.last_transition_time or format_time(now))
    due = since + timedelta(seconds=deployment.spec.progress_deadline_seconds)
    # A second more: times are written in whole seconds.
    return max(0.0, (due - now).total_seconds()) + 1.0


def write_status(status: DeploymentStatus) -> dict[str, Any]:
    """Every count: a merge patch keeps what it doesn't name, and null takes a count of zero out."""
    written: dict[str, Any] = {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas or None,
        "updatedReplicas": status.updated_replicas or None,
        "readyReplicas": status.ready_replicas or None,
        "availableReplicas": status.available_replicas or None,
        "unavailableReplicas": status.unavailable_replicas or None,
        "conditions": [msgspec.to_builtins(condition) for condition in status.conditions],
    }
    if status.collision_count is not None:
        written["collisionCount"] = status.collision_count
    return written


def _set_available(deployment: Deployment, status: DeploymentStatus, now: datetime) -> tuple[Condition, ...]:
    if status.available_replicas >= compute_minimum_available(deployment):
        condition = _build("Available", "True", "MinimumReplicasAvailable", now)
        said = "Deployment has minimum availability."
    else:
        condition = _build("Available", "False", "MinimumReplicasUnavailable", now)
        said = "Deployment does not have minimum availability."
    return set_condition(status.conditions, msgspec.structs.replace(condition, message=said), now)


def _set_replica_failure(
    conditions: tuple[Condition, ...], everything: tuple[ReplicaSet, ...], now: datetime
) -> tuple[Condition, ...]:
    failures = (get_condition(each.status.conditions, "ReplicaFailure") for each in everything)
    failure = next((each for each in failures if each is not None), None)
    if failure is None:
        return remove_condition(conditions, "ReplicaFailure")
    copied = _build("ReplicaFailure", failure.status, failure.reason, now, failure.message)
    return set_condition(conditions, copied, now)


def _set_progressing(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, now: datetime, creating: str
) -> tuple[Condition, ...]:
    if deployment.spec.progress_deadline_seconds >= NO_DEADLINE_SECONDS:
        return remove_condition(status.conditions, "Progressing")
    current = get_condition(status.conditions, "Progressing")
    wanted = _choose_progressing(deployment, status, new, current, now, creating)
    if wanted is None:
        return status.conditions
    if wanted.reason == "ReplicaSetUpdated" and current is not None:
        # Progress starts the deadline anew, although nothing else in the condition changes.
        moved = current.last_transition_time if current.status == wanted.status else format_time(now)
        renewed = msgspec.structs.replace(wanted, last_transition_time=moved)
        return (*remove_condition(status.conditions, "Progressing"), renewed)
    return set_condition(status.conditions, wanted, now)


def _choose_progressing(
    deployment: Deployment,
    status: DeploymentStatus,
    new: ReplicaSet | None,
    current: Condition | None,
    now: datetime,
    creating: str,
) -> Condition | None:
    """What Progressing should say; None leaves it as it is."""
    reason = current.reason if current is not None else ""
    if deployment.spec.paused:
        return _build("Progressing", "Unknown", "DeploymentPaused", now, "Deployment is paused")
    if reason == "DeploymentPaused":
        return _build("Progressing", "Unknown", "DeploymentResumed", now, "Deployment is resumed")
    if creating:
        said = f'Created new replica set "{creating}"'
        return _build("Progressing", "True", "NewReplicaSetCreated", now, said)
    if reason == "NewReplicaSetAvailable" and status.replicas == status.updated_replicas:
        return None
    name = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        said = f"{name} has successfully progressed."
        return _build("Progressing", "True", "NewReplicaSetAvailable", now, said)
    if _has_progressed(deployment.status, status):
        return _build("Progressing", "True", "ReplicaSetUpdated", now, f"{name} is progressing.")
    if current is None and new is not None:
        said = f'Found new replica set "{new.metadata.name}"'
        return _build("Progressing", "True", "FoundNewReplicaSet", now, said)
    if _has_timed_out(deployment, current, now):
        said = f"{name} has timed out progressing."
        return _build("Progressing", "False", "ProgressDeadlineExceeded", now, said)
    return None


def _has_progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _has_timed_out(deployment: Deployment, current: Condition | None, now: datetime) -> bool:
    if current is None or current.reason == "NewReplicaSetAvailable":
        return False
    if current.reason == "ProgressDeadlineExceeded":
        return True
    since = current.last_update_time or current.last_transition_time
    deadline = timedelta(seconds=deployment.spec.progress_deadline_seconds)
    return since is not None and parse_time(since) + deadline < now


def _build(type_: str, status: str, reason: str, now: datetime, message: str = "") -> Condition:
    instant = format_time(now)
    return Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message,
        last_update_time=instant,
        last_transition_time=instant,
    )
