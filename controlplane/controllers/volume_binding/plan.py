"""Claims find volumes: which volume a claim is bound to, and what both say about it.

Pure. Called by `controlplane.controllers.volume_binding.observe`. Binds what exists already (static
provisioning); making volumes for claims that none satisfies would begin where `_explain_waiting` does. Each
binding is written in an order that a crash can't spoil: the volume names the claim first, so that no other
claim gets it, then the claim names the volume. Follows the "Persistent Volumes" page of the Kubernetes
documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.actions import Action, Announce, MergePatch, Plan
from controlplane.notes import Note
from controlplane.volume_matching import (
    choose_volume,
    get_class_name,
    is_reserved_for,
    waits_for_consumer,
)
from kubeapi.core import Node
from kubeapi.event_records import EventType, build_reference
from kubeapi.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from kubeapi.storage import NO_PROVISIONER, PersistentVolume, PersistentVolumeClaim, StorageClass

BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
_NO_VOLUME: Final = "no persistent volumes available for this claim and no storage class is set"
_WAITS_FOR_POD: Final = "waiting for first consumer to be created before binding"
_LOST_REFERENCE: Final = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
_LOST_VOLUME: Final = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
_MISBOUND: Final = "Two claims are bound to the same volume, this one is bound incorrectly"


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """`consumer_node`: where a pod that uses the claim has been placed."""

    claim: PersistentVolumeClaim
    volumes: tuple[PersistentVolume, ...] = ()
    storage_class: StorageClass | None = None
    consumer_node: Node | None = None

    def get_volume(self) -> PersistentVolume | None:
        """The volume that the claim names."""
        name = self.claim.spec.volume_name
        return next((each for each in self.volumes if each.metadata.name == name), None)


def plan_claim(observed: ObservedClaim) -> Plan:
    """What to write so that the claim is bound, or says why it isn't."""
    claim = observed.claim
    if BIND_COMPLETED in claim.metadata.annotations:
        return Plan(_keep_bound(observed))
    if claim.metadata.deletion_timestamp is not None:
        return Plan()
    if claim.spec.volume_name:
        return Plan(_bind_named(observed))
    waits = waits_for_consumer(observed.storage_class) and observed.consumer_node is None
    node = observed.consumer_node if waits_for_consumer(observed.storage_class) else None
    chosen = choose_volume(claim, observed.volumes, node=node, reserved_only=waits)
    if chosen is not None:
        return Plan(bind(claim, chosen))
    return Plan((*_set_phase(claim, "Pending"), *_explain_waiting(observed, waits=waits)))


def _keep_bound(observed: ObservedClaim) -> tuple[Action, ...]:
    """A claim that was bound stays so, or is lost: its data is nowhere else."""
    claim, volume = observed.claim, observed.get_volume()
    if not claim.spec.volume_name:
        return _lose(claim, "ClaimLost", _LOST_REFERENCE)
    if volume is None:
        return _lose(claim, "ClaimLost", _LOST_VOLUME)
    if volume.spec.claim_ref is None or is_reserved_for(volume, claim):
        return bind(claim, volume)
    return _lose(claim, "ClaimMisbound", _MISBOUND)


def _bind_named(observed: ObservedClaim) -> tuple[Action, ...]:
    """The claim names its volume from the start: it gets this one, or waits for it."""
    claim, volume = observed.claim, observed.get_volume()
    if volume is not None and (volume.spec.claim_ref is None or is_reserved_for(volume, claim)):
        return bind(claim, volume)
    return _set_phase(claim, "Pending")


def bind(claim: PersistentVolumeClaim, volume: PersistentVolume) -> tuple[Action, ...]:
    """What is still missing of the binding, the volume's side first."""
    return (*_reserve(volume, claim), *_occupy(volume), *_settle(claim, volume))


def _reserve(volume: PersistentVolume, claim: PersistentVolumeClaim) -> tuple[Action, ...]:
    reference = volume.spec.claim_ref
    if reference is not None and reference.uid == claim.metadata.uid:
        return ()
    meta = claim.metadata
    metadata: dict[str, Any] = {"resourceVersion": volume.metadata.resource_version}
    if reference is None:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
    claim_ref = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
    return (
        MergePatch(PERSISTENT_VOLUMES, volume.key, {"metadata": metadata, "spec": {"claimRef": claim_ref}}),
    )


def _occupy(volume: PersistentVolume) -> tuple[Action, ...]:
    if volume.status.phase == "Bound":
        return ()
    status = {"phase": "Bound", "message": None, "reason": None}
    return (MergePatch(PERSISTENT_VOLUMES, volume.key, {"status": status}, subresource="status"),)


def _settle(claim: PersistentVolumeClaim, volume: PersistentVolume) -> tuple[Action, ...]:
    actions: list[Action] = []
    annotations = {BIND_COMPLETED: "yes"}
    if not claim.spec.volume_name:
        annotations[BOUND_BY_CONTROLLER] = "yes"
    if not annotations.items() <= claim.metadata.annotations.items():
        body = {"metadata": {"annotations": annotations}, "spec": {"volumeName": volume.metadata.name}}
        actions.append(MergePatch(PERSISTENT_VOLUME_CLAIMS, claim.key, body))
    wanted = ("Bound", volume.spec.access_modes, dict(volume.spec.capacity))
    status = claim.status
    if (status.phase, status.access_modes, dict(status.capacity)) != wanted:
        body = {
            "status": {
                "phase": "Bound",
                "accessModes": list(volume.spec.access_modes),
                "capacity": dict(volume.spec.capacity),
            }
        }
        actions.append(MergePatch(PERSISTENT_VOLUME_CLAIMS, claim.key, body, subresource="status"))
    return tuple(actions)


def _lose(claim: PersistentVolumeClaim, reason: str, message: str) -> tuple[Action, ...]:
    if claim.status.phase == "Lost":
        return ()
    body = {"status": {"phase": "Lost", "accessModes": None, "capacity": None}}
    note = Note(build_reference(PERSISTENT_VOLUME_CLAIMS, claim), reason, message, EventType.WARNING)
    return (MergePatch(PERSISTENT_VOLUME_CLAIMS, claim.key, body, subresource="status", note=note),)


def _set_phase(claim: PersistentVolumeClaim, phase: str) -> tuple[Action, ...]:
    if claim.status.phase == phase:
        return ()
    body = {"status": {"phase": phase}}
    return (MergePatch(PERSISTENT_VOLUME_CLAIMS, claim.key, body, subresource="status"),)


def _explain_waiting(observed: ObservedClaim, *, waits: bool) -> tuple[Action, ...]:
    claim, storage_class = observed.claim, observed.storage_class
    class_name = get_class_name(claim)
    if waits:
        return (_say(claim, "WaitForFirstConsumer", _WAITS_FOR_POD, EventType.NORMAL),)
    if not class_name:
        return (_say(claim, "FailedBinding", _NO_VOLUME, EventType.NORMAL),)
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_name}" not found'
        return (_say(claim, "ProvisioningFailed", message, EventType.WARNING),)
    if storage_class.provisioner == NO_PROVISIONER:
        return ()
    message = (
        f"Waiting for a volume to be created either by the external provisioner "
        f"'{storage_class.provisioner}' or manually by the system administrator. If volume creation is "
        f"delayed, please verify that the provisioner is running and correctly registered."
    )
    return (_say(claim, "ExternalProvisioning", message, EventType.NORMAL),)


def _say(claim: PersistentVolumeClaim, reason: str, message: str, type_: EventType) -> Announce:
    return Announce(Note(build_reference(PERSISTENT_VOLUME_CLAIMS, claim), reason, message, type_))
