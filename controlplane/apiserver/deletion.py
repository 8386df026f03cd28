"""What a deletion does: remove the object, mark it and wait, or nothing more.

Pure. An object with finalizers is only marked; a pod on a node is marked and goes when its kubelet deletes
it with grace 0; a namespace is marked until its content is gone. Dependents are collected by the
controllers: here only the finalizers `foregroundDeletion` and `orphan` are set, which tell them how.
Follows "Garbage Collection", "Finalizers" and "Termination of Pods" in the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from controlplane.apiserver.documents import Document
from controlplane.apiserver.kinds import NAMESPACE, POD, Kind
from kubeapi.meta import format_time, parse_time

FOREGROUND_FINALIZER: Final = "foregroundDeletion"
ORPHAN_FINALIZER: Final = "orphan"

_DEFAULT_GRACE_SECONDS: Final = 30
_FINISHED_PHASES: Final = frozenset({"Succeeded", "Failed"})


class Propagation(StrEnum):
    """What happens to the objects that this one owns."""

    ORPHAN = "Orphan"
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`grace_period_seconds` None means the object's own; `propagation` None leaves its finalizers alone."""

    grace_period_seconds: int | None = None
    propagation: Propagation | None = None
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the object out of storage now."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Store this instead: somebody else's turn comes first."""

    document: Document


@dataclass(frozen=True, slots=True)
class Keep:
    """The deletion is under way already and this request adds nothing."""


Deletion = Remove | Mark | Keep


def plan_deletion(kind: Kind, document: Mapping[str, Any], options: DeleteOptions, now: datetime) -> Deletion:
    """What to do with an object that somebody asks to delete."""
    metadata = dict(document["metadata"])
    finalizers = choose_finalizers(metadata.get("finalizers") or [], options.propagation)
    grace = _choose_grace_seconds(kind, document, options)
    waits = bool(finalizers) or grace > 0 or _has_content(kind, document)
    if not waits:
        return Remove()
    changed = _mark_deletion(metadata, grace, now)
    if finalizers != (metadata.get("finalizers") or []):
        metadata["finalizers"] = finalizers
        changed = True
    if not changed:
        return Keep()
    marked = {**document, "metadata": metadata}
    if kind == NAMESPACE:
        marked["status"] = {**(document.get("status") or {}), "phase": "Terminating"}
    return Mark(_count_generation(kind, marked))


def is_ready_to_remove(kind: Kind, document: Mapping[str, Any]) -> bool:
    """A marked object whose last finalizer this update took away, and that nothing else holds back."""
    metadata = document["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not _has_content(kind, document)
    )


def choose_finalizers(finalizers: list[str], propagation: Propagation | None) -> list[str]:
    """The finalizers that say what happens to dependents; others are left alone."""
    if propagation is None:
        return finalizers
    kept = [each for each in finalizers if each not in (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)]
    match propagation:
        case Propagation.ORPHAN:
            return [*kept, ORPHAN_FINALIZER]
        case Propagation.FOREGROUND:
            return [*kept, FOREGROUND_FINALIZER]
        case Propagation.BACKGROUND:
            return kept


def _choose_grace_seconds(kind: Kind, document: Mapping[str, Any], options: DeleteOptions) -> int:
    """How long a pod may take; other kinds have no grace."""
    if kind != POD:
        return 0
    spec, status = document.get("spec") or {}, document.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in _FINISHED_PHASES:
        return 0
    wanted = options.grace_period_seconds
    if wanted is None:
        wanted = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
    seconds = int(wanted)
    return seconds if seconds >= 0 else 1


def _mark_deletion(metadata: Document, grace: int, now: datetime) -> bool:
    """Set the time of deletion, or bring it nearer; later requests never extend it."""
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        return True
    before = int(metadata.get("deletionGracePeriodSeconds") or 0)
    if grace >= before:
        return False
    sooner = parse_time(metadata["deletionTimestamp"]) - timedelta(seconds=before - grace)
    metadata["deletionTimestamp"] = format_time(sooner)
    metadata["deletionGracePeriodSeconds"] = grace
    return True


def _has_content(kind: Kind, document: Mapping[str, Any]) -> bool:
    return kind == NAMESPACE and bool((document.get("spec") or {}).get("finalizers"))


def _count_generation(kind: Kind, document: Document) -> Document:
    if not kind.counts_generations:
        return document
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "generation": int(metadata.get("generation") or 0) + 1}}
