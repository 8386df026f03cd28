"""Volumes keep up with their claims: Available, Bound, Released, and Failed where reclaiming isn't possible.

Pure. Called by `controlplane.controllers.volume_binding.observe`. Retain is all the reclaiming that is done
here: nobody's files are deleted unless a provisioner of ours made them, which `_plan_released` is the place
for. Follows the "Persistent Volumes" page of the Kubernetes documentation ("Reclaiming", "Phase").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.actions import Action, MergePatch, Plan
from controlplane.controllers.volume_binding.plan import BOUND_BY_CONTROLLER
from controlplane.notes import Note
from kubeapi.event_records import EventType, build_reference
from kubeapi.resources import PERSISTENT_VOLUMES
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim

_AFTER_RELEASE: Final = ("Released", "Failed")
_CANNOT_RECLAIM: Final = (
    "nothing here deletes what a volume that was made by hand holds (reclaim policy {policy}): "
    "remove the data and the volume yourself, or set persistentVolumeReclaimPolicy to Retain"
)


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    """`claim`: what the volume's claimRef names now, whatever its UID."""

    volume: PersistentVolume
    claim: PersistentVolumeClaim | None = None


def plan_volume(observed: ObservedVolume) -> Plan:
    """The volume's phase, and its reservation taken back if the claim went elsewhere."""
    volume, claim = observed.volume, observed.claim
    reference = volume.spec.claim_ref
    if reference is None or not reference.uid:
        # Reserved by name only: the claim's own look binds it.
        return Plan(_set_phase(volume, "Available"))
    if claim is None or claim.metadata.uid != reference.uid:
        return Plan(_plan_released(volume))
    if claim.spec.volume_name == volume.metadata.name:
        return Plan(_set_phase(volume, "Bound"))
    if not claim.spec.volume_name:
        # Half of a binding: the claim's own look does the rest.
        return Plan()
    return Plan(_withdraw(volume))


def _plan_released(volume: PersistentVolume) -> tuple[Action, ...]:
    """The claim is gone; the data stays."""
    if volume.status.phase in _AFTER_RELEASE:
        return ()
    policy = volume.spec.persistent_volume_reclaim_policy
    if policy == "Retain":
        return _set_phase(volume, "Released")
    message = _CANNOT_RECLAIM.format(policy=policy)
    reason = "VolumeFailedDelete" if policy == "Delete" else "VolumeFailedRecycle"
    note = Note(build_reference(PERSISTENT_VOLUMES, volume), reason, message, EventType.WARNING)
    status = {"phase": "Failed", "message": message}
    return (MergePatch(PERSISTENT_VOLUMES, volume.key, {"status": status}, subresource="status", note=note),)


def _withdraw(volume: PersistentVolume) -> tuple[Action, ...]:
    """What a user reserved stays reserved by name, what the binder reserved is free again."""
    meta = volume.metadata
    metadata: dict[str, Any] = {"resourceVersion": meta.resource_version}
    if BOUND_BY_CONTROLLER in meta.annotations:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: None}
        spec: dict[str, Any] = {"claimRef": None}
    else:
        spec = {"claimRef": {"uid": None, "resourceVersion": None}}
    return (
        MergePatch(PERSISTENT_VOLUMES, volume.key, {"metadata": metadata, "spec": spec}),
        *_set_phase(volume, "Available"),
    )


def _set_phase(volume: PersistentVolume, phase: str) -> tuple[Action, ...]:
    if volume.status.phase == phase:
        return ()
    status = {"phase": phase, "message": None, "reason": None}
    return (MergePatch(PERSISTENT_VOLUMES, volume.key, {"status": status}, subresource="status"),)
