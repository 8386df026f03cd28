"""What the server decides about an object besides its content: identity, generation, which half is written.

Pure. Called by the registry around patching, defaulting and validation. A write to the object leaves its
status alone, a write to `status` leaves everything else alone; server-kept metadata always survives.
Follows "Object Metadata" and "Spec and Status" in the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from controlplane.apiserver.documents import Document
from controlplane.apiserver.kinds import NODE, POD, Kind

_KEPT_METADATA: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_DROPPED_METADATA: Final = ("resourceVersion", "managedFields", "selfLink", *_KEPT_METADATA, "generation")

# The kubelet reports by writing status, and may note things in the metadata of the same request.
_STATUS_WRITES_METADATA: Final = frozenset({POD.plural, NODE.plural})
_STATUS_METADATA: Final = ("labels", "annotations", "finalizers")


def prepare_creation(
    kind: Kind, document: Mapping[str, Any], *, namespace: str, name: str, uid: str, created: str
) -> Document:
    """The document as it enters the cluster; `created` is an RFC 3339 time."""
    metadata = _strip_metadata(document)
    metadata.update(name=name, uid=uid, creationTimestamp=created)
    if kind.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if kind.counts_generations:
        metadata["generation"] = 1
    prepared = {**document, "metadata": metadata}
    if kind.initial_status is not None:
        prepared["status"] = deepcopy(dict(kind.initial_status))
    return prepared


def prepare_update(kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any]) -> Document:
    """`new` with the status and the server-kept metadata of `old`; count the generation afterwards."""
    prepared = {**new, "metadata": _keep_metadata(_strip_metadata(new), old["metadata"])}
    if kind.has_status:
        _carry(prepared, old, "status")
    if kind.plural == "namespaces":
        _keep_spec_finalizers(prepared, old)
    return prepared


def prepare_status_update(kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any]) -> Document:
    """`old` with the status of `new`."""
    prepared = dict(old)
    _carry(prepared, new, "status")
    metadata = _keep_metadata(_strip_metadata(old), old["metadata"])
    if kind.plural in _STATUS_WRITES_METADATA:
        sent = new.get("metadata") or {}
        for field in _STATUS_METADATA:
            _carry(metadata, sent, field)
    prepared["metadata"] = metadata
    return prepared


def prepare_finalize(new: Mapping[str, Any], old: Mapping[str, Any]) -> Document:
    """A namespace's `finalize`: only spec.finalizers is taken over."""
    finalizers = (new.get("spec") or {}).get("finalizers") or []
    metadata = _keep_metadata(_strip_metadata(old), old["metadata"])
    return {**old, "metadata": metadata, "spec": {**(old.get("spec") or {}), "finalizers": finalizers}}


def count_generation(kind: Kind, new: Document, old: Mapping[str, Any]) -> Document:
    """One more than before if anything but metadata and status changed."""
    if not kind.counts_generations:
        return new
    before = int(old["metadata"].get("generation") or 1)
    changed = _wish(new) != _wish(old)
    return {**new, "metadata": {**new["metadata"], "generation": before + changed}}


def is_same_object(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Nothing but the resource version differs: such a write is not made."""
    return _comparable(new) == _comparable(old)


def _comparable(document: Mapping[str, Any]) -> Document:
    metadata = {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}
    return {**document, "metadata": metadata}


def _wish(document: Mapping[str, Any]) -> Document:
    return {key: value for key, value in document.items() if key not in ("metadata", "status")}


def _strip_metadata(document: Mapping[str, Any]) -> Document:
    metadata = dict(document.get("metadata") or {})
    for field in _DROPPED_METADATA:
        metadata.pop(field, None)
    return metadata


def _keep_metadata(metadata: Document, old: Mapping[str, Any]) -> Document:
    for field in (*_KEPT_METADATA, "generation", "name", "namespace", "generateName"):
        _carry(metadata, old, field)
    return metadata


def _carry(target: Document, source: Mapping[str, Any], field: str) -> None:
    """Make `field` what it is in `source`, absence included."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def _keep_spec_finalizers(prepared: Document, old: Mapping[str, Any]) -> None:
    finalizers = (old.get("spec") or {}).get("finalizers") or []
    prepared["spec"] = {**(prepared.get("spec") or {}), "finalizers": finalizers}
