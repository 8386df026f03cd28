"""How many replicas each ReplicaSet of a Deployment may have now: rolling update, recreate, proportional
scaling.

Pure arithmetic. Called by `controlplane.controllers.deployment.plan`. Never more than `replicas + maxSurge`
pods in all, never fewer than `replicas - maxUnavailable` available because of us. Follows the "Rolling
Update Deployment" and "Proportional scaling" sections of the Deployment page of the Kubernetes
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kubeapi.apps import Deployment, ReplicaSet, RollingUpdateDeployment
from kubeapi.meta import IntOrString

DESIRED_REPLICAS_ANNOTATION: Final = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS_ANNOTATION: Final = "deployment.kubernetes.io/max-replicas"

Sizes = Mapping[str, int]
"""Wanted replicas by ReplicaSet name; a ReplicaSet that isn't named keeps its size."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a rollout may go, in pods; never both zero."""

    max_surge: int
    max_unavailable: int


def compute_budget(deployment: Deployment) -> Budget:
    """Surge rounded up, unavailable rounded down; both zero would never move, so one may be unavailable."""
    replicas = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate":
        return Budget(max_surge=0, max_unavailable=replicas)
    rolling = deployment.spec.strategy.rolling_update or RollingUpdateDeployment()
    surge = _scale(rolling.max_surge, replicas, round_up=True)
    unavailable = _scale(rolling.max_unavailable, replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Budget(surge, min(unavailable, replicas))


def compute_minimum_available(deployment: Deployment) -> int:
    """Below this the Deployment's Available condition is False."""
    if deployment.spec.strategy.type != "RollingUpdate":
        return deployment.spec.replicas
    return deployment.spec.replicas - compute_budget(deployment).max_unavailable


def compute_most_replicas(deployment: Deployment) -> int:
    if deployment.spec.replicas == 0:
        return 0
    return deployment.spec.replicas + compute_budget(deployment).max_surge


def count_replicas(replica_sets: tuple[ReplicaSet, ...]) -> int:
    return sum(each.spec.replicas for each in replica_sets)


def count_available(replica_sets: tuple[ReplicaSet, ...]) -> int:
    """Pods that are sure to be available."""
    return sum(_available(each) for each in replica_sets)


def order_by_age(replica_sets: tuple[ReplicaSet, ...]) -> tuple[ReplicaSet, ...]:
    """The oldest first."""
    return tuple(
        sorted(replica_sets, key=lambda each: (each.metadata.creation_timestamp or "", each.metadata.name))
    )


def compute_new_size(deployment: Deployment, current: int, all_replicas: int) -> int:
    """The size of the newest ReplicaSet, which has `current` of `all_replicas` now."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or current >= wanted:
        return wanted
    room = compute_most_replicas(deployment) - all_replicas
    return current + max(0, min(room, wanted - current))


def compute_old_sizes(deployment: Deployment, new: ReplicaSet, old: tuple[ReplicaSet, ...]) -> Sizes:
    """The sizes of the old ReplicaSets that shrink now: pods that aren't available go first, they cost
    nothing.
    """
    minimum = deployment.spec.replicas - compute_budget(deployment).max_unavailable
    new_unavailable = new.spec.replicas - _available(new)
    spare = count_replicas((*old, new)) - minimum - new_unavailable
    if spare <= 0:
        return {}
    sizes = {each.metadata.name: each.spec.replicas for each in old}
    for each in order_by_age(old):
        dead = min(_dead(each), spare)
        sizes[each.metadata.name] -= dead
        spare -= dead
    spare = min(spare, max(0, count_available((*old, new)) - minimum))
    for each in order_by_age(old):
        given_up = min(sizes[each.metadata.name], spare)
        sizes[each.metadata.name] -= given_up
        spare -= given_up
    return {each.metadata.name: sizes[each.metadata.name] for each in old if _differs(each, sizes)}


def is_scaling(deployment: Deployment, replica_sets: tuple[ReplicaSet, ...]) -> bool:
    """The Deployment was scaled since its running ReplicaSets got their sizes."""
    written = (each.metadata.annotations.get(DESIRED_REPLICAS_ANNOTATION) for each in _running(replica_sets))
    return any(text is not None and text != str(deployment.spec.replicas) for text in written)


def compute_scaled_sizes(
    deployment: Deployment, new: ReplicaSet | None, old: tuple[ReplicaSet, ...]
) -> Sizes:
    """Sizes after a change of `spec.replicas` alone: in proportion, so that a rollout that is under way (or
    paused) stays as far as it has come. Every running ReplicaSet is named, because each takes the new
    annotations.
    """
    everything = (*old, *((new,) if new else ()))
    running = _running(everything)
    if len(running) <= 1:
        only = running[0] if running else new or next(reversed(order_by_age(old)), None)
        return {only.metadata.name: deployment.spec.replicas} if only else {}
    if new is not None and _is_saturated(deployment, new):
        return {each.metadata.name: 0 for each in old if each.spec.replicas} | {
            new.metadata.name: new.spec.replicas
        }
    if deployment.spec.strategy.type != "RollingUpdate":
        return {each.metadata.name: each.spec.replicas for each in running}
    return _share(deployment, running)


def _share(deployment: Deployment, running: tuple[ReplicaSet, ...]) -> Sizes:
    """Splits what is to be added or taken by size; what rounding leaves goes to the largest."""
    to_add = compute_most_replicas(deployment) - count_replicas(running)
    newest_first = tuple(reversed(order_by_age(running)))
    # Growing prefers the newer of two equals, shrinking the older.
    tie_order = newest_first if to_add > 0 else order_by_age(running)
    by_size = sorted(tie_order, key=lambda each: -each.spec.replicas)
    sizes: dict[str, int] = {}
    added = 0
    for each in by_size:
        share = _compute_share(deployment, each, to_add, to_add - added) if to_add else 0
        sizes[each.metadata.name] = each.spec.replicas + share
        added += share
    largest = by_size[0].metadata.name
    sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _compute_share(deployment: Deployment, replica_set: ReplicaSet, to_add: int, allowed: int) -> int:
    most_then = replica_set.metadata.annotations.get(MAX_REPLICAS_ANNOTATION, "")
    base = int(most_then) if most_then.isdecimal() and int(most_then) else deployment.spec.replicas
    if deployment.spec.replicas == 0 or base == 0:
        return max(-replica_set.spec.replicas, allowed) if to_add < 0 else 0
    scaled = replica_set.spec.replicas * compute_most_replicas(deployment) / base
    share = int(scaled + 0.5) - replica_set.spec.replicas
    return min(max(share, 0), allowed) if to_add > 0 else max(min(share, 0), allowed)


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    """The newest alone already serves everything that is wanted."""
    wanted = deployment.spec.replicas
    desired = new.metadata.annotations.get(DESIRED_REPLICAS_ANNOTATION)
    return new.spec.replicas == wanted and desired == str(wanted) and _available(new) == wanted


def _running(replica_sets: tuple[ReplicaSet, ...]) -> tuple[ReplicaSet, ...]:
    return tuple(each for each in replica_sets if each.spec.replicas > 0)


def _available(replica_set: ReplicaSet) -> int:
    """Pods that are sure to be available: none while the status is from before the last change of size,
    because a ReplicaSet that shrank and grew again may claim pods that are gone.
    """
    if _is_lagging(replica_set):
        return 0
    return min(replica_set.status.available_replicas, replica_set.spec.replicas)


def _dead(replica_set: ReplicaSet) -> int:
    """Pods that are sure not to be available."""
    return 0 if _is_lagging(replica_set) else replica_set.spec.replicas - _available(replica_set)


def _is_lagging(replica_set: ReplicaSet) -> bool:
    return replica_set.status.observed_generation < replica_set.metadata.generation


def _differs(replica_set: ReplicaSet, sizes: Sizes) -> bool:
    return sizes[replica_set.metadata.name] != replica_set.spec.replicas


def _scale(value: IntOrString, replicas: int, *, round_up: bool) -> int:
    if isinstance(value, int):
        return value
    percent = int(value.removesuffix("%"))
    return -(-replicas * percent // 100) if round_up else replicas * percent // 100
