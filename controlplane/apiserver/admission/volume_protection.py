"""Persistent volumes and their claims: the default class of a claim, and that neither goes while in use.

Pure. Called for new volumes and claims; the finalizers set here are taken away by the volume controllers.
Follows "Storage Object in Use Protection" and "Default StorageClass" in the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.documents import Document
from controlplane.apiserver.kinds import STORAGE_CLASS

CLAIM_FINALIZER: Final = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER: Final = "kubernetes.io/pv-protection"
_DEFAULT_ANNOTATIONS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def admit_claim(claim: Document, objects: PolicyObjects) -> Document:
    """A claim that says nothing of its class gets the default one, if there is one."""
    spec = claim.get("spec") or {}
    if "storageClassName" in spec:
        return claim
    default = _find_default(objects)
    if default is None:
        return claim
    return {**claim, "spec": {**spec, "storageClassName": default["metadata"]["name"]}}


def protect_claim(claim: Document, objects: PolicyObjects) -> Document:  # noqa: ARG001
    """The claim with its protection."""
    return _add_finalizer(claim, CLAIM_FINALIZER)


def protect_volume(volume: Document, objects: PolicyObjects) -> Document:  # noqa: ARG001
    """The volume with its protection."""
    return _add_finalizer(volume, VOLUME_FINALIZER)


def _add_finalizer(document: Document, finalizer: str) -> Document:
    metadata = document["metadata"]
    finalizers = metadata.get("finalizers") or []
    if finalizer in finalizers:
        return document
    return {**document, "metadata": {**metadata, "finalizers": [*finalizers, finalizer]}}


def _find_default(objects: PolicyObjects) -> Mapping[str, Any] | None:
    """Of several the newest; of those made in the same second the first by name."""
    defaults = sorted(
        (each for each in objects.select(STORAGE_CLASS) if _is_default(each)),
        key=lambda each: str(each["metadata"]["name"]),
    )
    return max(defaults, key=lambda each: str(each["metadata"].get("creationTimestamp", "")), default=None)


def _is_default(storage_class: Mapping[str, Any]) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return any(annotations.get(name) == "true" for name in _DEFAULT_ANNOTATIONS)
