"""Which objects belong to a controller: by controller reference first, by selector for orphans.

Pure. Shared by the plans of all kinds that own others (Deployment → ReplicaSet → Pod). Follows the "Owners
and Dependents" page of the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from controlplane.controllers.actions import Action, Adopt, AnyResource, MergePatch
from kubeapi.meta import Object, OwnerReference
from kubeapi.selectors import Selector

ObjectT = TypeVar("ObjectT", bound=Object)


@dataclass(frozen=True, slots=True)
class Claim(Generic[ObjectT]):
    """`owned` match the selector and name us; `adopt` are orphans that match; `release` name us without
    matching.
    """

    owned: tuple[ObjectT, ...]
    adopt: tuple[ObjectT, ...]
    release: tuple[ObjectT, ...]


def get_controller(object_: Object) -> OwnerReference | None:
    return next((ref for ref in object_.metadata.owner_references if ref.controller), None)


def build_controller_reference(owner: Object) -> dict[str, Any]:
    """The reference, in JSON's own names, that an owner puts on what it makes."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def compute_claim(owner: Object, selector: Selector, candidates: Iterable[ObjectT]) -> Claim[ObjectT]:
    """An owner that is being deleted adopts nothing; an object that is being deleted is neither adopted nor
    released.
    """
    owned: list[ObjectT] = []
    adopt: list[ObjectT] = []
    release: list[ObjectT] = []
    for candidate in candidates:
        controller = get_controller(candidate)
        matches = selector.matches(candidate.metadata.labels)
        deleting = candidate.metadata.deletion_timestamp is not None
        if controller is None:
            if matches and not deleting and owner.metadata.deletion_timestamp is None:
                adopt.append(candidate)
        elif controller.uid == owner.metadata.uid:
            if matches:
                owned.append(candidate)
            elif not deleting:
                release.append(candidate)
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def build_claim_actions(
    owner: Object, owner_resource: AnyResource, resource: AnyResource, claim: Claim[ObjectT]
) -> tuple[Action, ...]:
    """The patches of owner references; each conditional on the version that was looked at."""
    adoptions = tuple(
        Adopt(
            resource=resource,
            key=orphan.key,
            body=_build_references_patch(
                orphan, [*_written(orphan.metadata.owner_references), build_controller_reference(owner)]
            ),
            owner_resource=owner_resource,
            owner_key=owner.key,
            owner_uid=owner.metadata.uid,
        )
        for orphan in claim.adopt
    )
    releases = tuple(build_disown_patch(resource, stray, owner.metadata.uid) for stray in claim.release)
    return (*adoptions, *releases)


def build_disown_patch(resource: AnyResource, object_: Object, *owner_uids: str) -> MergePatch:
    """Without the references to these owners; conditional on the version that was looked at."""
    kept = tuple(ref for ref in object_.metadata.owner_references if ref.uid not in owner_uids)
    return MergePatch(resource, object_.key, _build_references_patch(object_, _written(kept)))


def _build_references_patch(object_: Object, references: list[Any]) -> dict[str, Any]:
    return {
        "metadata": {
            "uid": object_.metadata.uid,
            "resourceVersion": object_.metadata.resource_version,
            "ownerReferences": references,
        }
    }


def _written(references: tuple[OwnerReference, ...]) -> list[Any]:
    return [msgspec.to_builtins(reference) for reference in references]
