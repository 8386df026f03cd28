"""Garbage collection: an object goes when all its owners are gone, or waits for its dependents, or leaves
them be.

Pure. Called by `controlplane.controllers.garbage.observe`, which looks owners up live before it calls them
gone. The API server marks a foreground deletion with the finalizer `foregroundDeletion` and an orphaning
one with `orphan`; what they promise is done here. Follows the "Garbage Collection" page of the Kubernetes
documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from controlplane.controllers.actions import Action, Delete, MergePatch, Plan
from controlplane.controllers.claim import build_disown_patch
from kubeapi.meta import Object, OwnerReference
from kubeapi.resources import Resource

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


class OwnerState(Enum):
    """PRESENT covers owners of kinds that we don't know: they are never taken for gone."""

    PRESENT = auto()
    DELETING_FOREGROUND = auto()
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class Dependent:
    resource: Resource[Any]
    object: Object


@dataclass(frozen=True, slots=True)
class ObservedObject:
    """`owners` in the order of the references; `dependents` name this object's UID as an owner."""

    resource: Resource[Any]
    object: Object
    owners: tuple[OwnerState, ...] = ()
    dependents: tuple[Dependent, ...] = ()


def plan_garbage(observed: ObservedObject) -> Plan:
    """First what a deletion that is under way still owes its dependents; then whether owners are left."""
    meta = observed.object.metadata
    if meta.deletion_timestamp is not None and ORPHAN in meta.finalizers:
        return Plan(_plan_orphaning(observed))
    if meta.deletion_timestamp is not None and FOREGROUND in meta.finalizers:
        return Plan(_plan_foreground(observed))
    if meta.deletion_timestamp is None and meta.owner_references:
        return Plan(_plan_by_owners(observed))
    return Plan()


def _plan_orphaning(observed: ObservedObject) -> tuple[Action, ...]:
    """Dependents lose their reference to us; once none has one, the finalizer goes."""
    uid = observed.object.metadata.uid
    if observed.dependents:
        return tuple(build_disown_patch(each.resource, each.object, uid) for each in observed.dependents)
    return (_build_finalizer_removal(observed, ORPHAN),)


def _plan_foreground(observed: ObservedObject) -> tuple[Action, ...]:
    """Dependents are looked at by themselves; this one waits for those that block it."""
    uid = observed.object.metadata.uid
    blocking = [
        each
        for each in observed.dependents
        for reference in each.object.metadata.owner_references
        if reference.uid == uid and reference.block_owner_deletion
    ]
    return () if blocking else (_build_finalizer_removal(observed, FOREGROUND),)


def _plan_by_owners(observed: ObservedObject) -> tuple[Action, ...]:
    references = observed.object.metadata.owner_references
    states = tuple(zip(references, observed.owners, strict=True))
    solid = [reference for reference, state in states if _holds(reference, state)]
    if len(solid) == len(references):
        return ()
    if solid:
        lost = [reference.uid for reference in references if reference not in solid]
        return (build_disown_patch(observed.resource, observed.object, *lost),)
    waiting = any(state is OwnerState.DELETING_FOREGROUND for _, state in states)
    return (_build_deletion(observed, foreground=waiting and bool(observed.dependents)),)


def _holds(reference: OwnerReference, state: OwnerState) -> bool:
    """An owner that waits for its dependents to go holds only those that it doesn't wait for."""
    match state:
        case OwnerState.PRESENT:
            return True
        case OwnerState.DELETING_FOREGROUND:
            return not reference.block_owner_deletion
        case OwnerState.ABSENT:
            return False


def _build_deletion(observed: ObservedObject, *, foreground: bool) -> Delete:
    """A finalizer that somebody set in advance decides how the object's own dependents fare."""
    finalizers = observed.object.metadata.finalizers
    if ORPHAN in finalizers:
        policy = "Orphan"
    else:
        policy = "Foreground" if foreground or FOREGROUND in finalizers else "Background"
    meta = observed.object.metadata
    return Delete(observed.resource, observed.object.key, meta.uid, policy, meta.resource_version)


def _build_finalizer_removal(observed: ObservedObject, finalizer: str) -> MergePatch:
    meta = observed.object.metadata
    kept = [each for each in meta.finalizers if each != finalizer]
    body = {
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": kept or None}
    }
    return MergePatch(observed.resource, observed.object.key, body)
