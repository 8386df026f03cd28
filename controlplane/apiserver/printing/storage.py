"""The columns of persistent volumes, claims and storage classes.

Pure; the time is an argument. Follows what `kubectl get` shows with an upstream server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from controlplane.apiserver.printing.cells import UNSET, format_age

_SHORT_MODES: Final = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)
_DEFAULT_ANNOTATIONS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def list_persistent_volume_cells(volume: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a PersistentVolume."""
    spec, status, claim = (
        volume.get("spec", {}),
        volume.get("status", {}),
        volume.get("spec", {}).get("claimRef"),
    )
    return [
        volume["metadata"].get("name", ""),
        spec.get("capacity", {}).get("storage", ""),
        _format_modes(spec.get("accessModes", ())),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _format_phase(volume),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        format_age(volume["metadata"].get("creationTimestamp"), now),
        spec.get("volumeMode") or UNSET,
    ]


def list_claim_cells(claim: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a PersistentVolumeClaim; what it holds shows once it is bound."""
    spec, status = claim.get("spec", {}), claim.get("status", {})
    bound = status if spec.get("volumeName") else {}
    return [
        claim["metadata"].get("name", ""),
        _format_phase(claim),
        spec.get("volumeName", ""),
        bound.get("capacity", {}).get("storage", ""),
        _format_modes(bound.get("accessModes", ())),
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        format_age(claim["metadata"].get("creationTimestamp"), now),
        spec.get("volumeMode") or UNSET,
    ]


def list_storage_class_cells(storage_class: Mapping[str, Any], now: datetime) -> list[Any]:
    """The cells of a StorageClass."""
    metadata = storage_class["metadata"]
    annotations = metadata.get("annotations", {})
    is_default = any(annotations.get(name) == "true" for name in _DEFAULT_ANNOTATIONS)
    return [
        f"{metadata.get('name', '')} (default)" if is_default else metadata.get("name", ""),
        storage_class.get("provisioner", ""),
        storage_class.get("reclaimPolicy", "Delete"),
        storage_class.get("volumeBindingMode", "Immediate"),
        storage_class.get("allowVolumeExpansion", False),
        format_age(metadata.get("creationTimestamp"), now),
    ]


def _format_phase(document: Mapping[str, Any]) -> str:
    if "deletionTimestamp" in document["metadata"]:
        return "Terminating"
    return str(document.get("status", {}).get("phase", ""))


def _format_modes(modes: Sequence[str]) -> str:
    return ",".join(short for mode, short in _SHORT_MODES if mode in modes)
