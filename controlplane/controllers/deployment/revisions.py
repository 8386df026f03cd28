"""A Deployment's ReplicaSets as its history: which is the newest, what revision each has, what a new one
looks like.

Pure. Called by `controlplane.controllers.deployment.plan`. `kubectl rollout history` and `undo` read the
annotations that are written here. Follows the "Rolling Back a Deployment" section of the Deployment page.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.controllers.claim import build_controller_reference
from controlplane.controllers.deployment.rollout import (
    DESIRED_REPLICAS_ANNOTATION,
    MAX_REPLICAS_ANNOTATION,
    compute_most_replicas,
    order_by_age,
)
from controlplane.controllers.template import (
    TEMPLATE_HASH_LABEL,
    add_template_hash,
    build_canonical_template,
    compute_template_hash,
)
from kubeapi.apps import Deployment, ReplicaSet

REVISION_ANNOTATION: Final = "deployment.kubernetes.io/revision"
REVISION_HISTORY_ANNOTATION: Final = "deployment.kubernetes.io/revision-history"
_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION_ANNOTATION,
        REVISION_HISTORY_ANNOTATION,
        DESIRED_REPLICAS_ANNOTATION,
        MAX_REPLICAS_ANNOTATION,
    }
)


def find_new_replica_set(deployment: Deployment, owned: tuple[ReplicaSet, ...]) -> ReplicaSet | None:
    """The oldest ReplicaSet that has the Deployment's template."""
    wanted = build_canonical_template(deployment.spec.template)
    return next(
        (each for each in order_by_age(owned) if build_canonical_template(each.spec.template) == wanted), None
    )


def read_revision(replica_set: ReplicaSet) -> int:
    """0 when the ReplicaSet has none that can be read."""
    text = replica_set.metadata.annotations.get(REVISION_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def compute_new_revision(new: ReplicaSet | None, old: tuple[ReplicaSet, ...]) -> int:
    """One more than every old one's; what the newest has stays when it is that already."""
    highest = max(map(read_revision, old), default=0)
    return max(highest + 1, read_revision(new) if new is not None else 0)


def build_size_annotations(deployment: Deployment) -> dict[str, str]:
    """What a ReplicaSet's size was computed from: read again when the Deployment is scaled."""
    return {
        DESIRED_REPLICAS_ANNOTATION: str(deployment.spec.replicas),
        MAX_REPLICAS_ANNOTATION: str(compute_most_replicas(deployment)),
    }


def build_revision_annotations(
    deployment: Deployment, new: ReplicaSet | None, revision: int
) -> dict[str, str]:
    """The Deployment's own annotations, the revision, and the revisions that this ReplicaSet had before."""
    annotations = {
        name: value for name, value in deployment.metadata.annotations.items() if name not in _NOT_COPIED
    }
    annotations[REVISION_ANNOTATION] = str(revision)
    earlier = read_revision(new) if new is not None else 0
    if new is not None and 0 < earlier < revision:
        history = new.metadata.annotations.get(REVISION_HISTORY_ANNOTATION, "")
        annotations[REVISION_HISTORY_ANNOTATION] = ",".join(filter(None, (history, str(earlier))))
    return annotations


def compute_replica_set_name(deployment: Deployment) -> str:
    """The same for the same template, so that making it twice is impossible."""
    collisions = deployment.status.collision_count or 0
    return f"{deployment.metadata.name}-{compute_template_hash(deployment.spec.template, collisions)}"


def build_replica_set_document(deployment: Deployment, replicas: int, revision: int) -> dict[str, Any]:
    collisions = deployment.status.collision_count or 0
    template_hash = compute_template_hash(deployment.spec.template, collisions)
    template = add_template_hash(deployment.spec.template, template_hash)
    selector = msgspec.to_builtins(deployment.spec.selector)
    selector["matchLabels"] = {**selector.get("matchLabels", {}), TEMPLATE_HASH_LABEL: template_hash}
    metadata = {
        "name": compute_replica_set_name(deployment),
        "namespace": deployment.metadata.namespace,
        "labels": template["metadata"]["labels"],
        "annotations": {
            **build_revision_annotations(deployment, None, revision),
            **build_size_annotations(deployment),
        },
        "ownerReferences": [build_controller_reference(deployment)],
    }
    spec = {
        "replicas": replicas,
        "minReadySeconds": deployment.spec.min_ready_seconds,
        "selector": selector,
        "template": template,
    }
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


def choose_forgotten(deployment: Deployment, old: tuple[ReplicaSet, ...]) -> tuple[ReplicaSet, ...]:
    """Empty old ReplicaSets beyond `revisionHistoryLimit`, the lowest revisions first."""
    empty = [
        each
        for each in old
        if each.spec.replicas == 0
        and each.status.replicas == 0
        and each.status.observed_generation >= each.metadata.generation
        and each.metadata.deletion_timestamp is None
    ]
    surplus = len(empty) - deployment.spec.revision_history_limit
    return tuple(sorted(empty, key=lambda each: (read_revision(each), each.metadata.name))[: max(0, surplus)])
