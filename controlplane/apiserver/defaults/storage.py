"""Defaults of persistent volumes, claims and storage classes.

Pure; changes the documents it is given, which the caller has just made.
"""

from __future__ import annotations

from controlplane.apiserver.openapi.schema import Document


def default_persistent_volume(volume: Document) -> None:
    """A volume is kept when it is released, and is a file system."""
    spec = volume.setdefault("spec", {})
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    spec.setdefault("volumeMode", "Filesystem")
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")
    status = volume.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


def default_persistent_volume_claim(claim: Document) -> None:
    """A claim is for a file system."""
    spec = claim.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    status = claim.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


def default_storage_class(storage_class: Document) -> None:
    """What is provisioned is deleted with its claim, and bound at once."""
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")
