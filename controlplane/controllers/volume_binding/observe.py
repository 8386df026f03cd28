"""Claims and volumes: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop` with a single worker, so that each choice
sees the ones before it; decisions are in `plan` and `volume_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import BY_CLAIM, Caches
from controlplane.controllers.volume_binding.plan import BIND_COMPLETED, ObservedClaim, plan_claim
from controlplane.controllers.volume_binding.volume_plan import ObservedVolume, plan_volume
from controlplane.controllers.work_queue import WorkQueue
from controlplane.volume_matching import get_class_name, list_claim_keys
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass


@dataclass(frozen=True, slots=True)
class ClaimKey:
    key: ObjectKey


@dataclass(frozen=True, slots=True)
class VolumeKey:
    key: ObjectKey


Key = ClaimKey | VolumeKey


class VolumeBindingReconciler:
    name = "volume-binding"

    def __init__(self, caches: Caches) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._caches = caches

    def subscribe(self) -> None:
        self._caches.claims.subscribe(self._note_claim)
        self._caches.volumes.subscribe(self._note_volume)
        self._caches.storage_classes.subscribe(self._note_class)
        self._caches.pods.subscribe(self._note_pod)

    async def look(self, key: Key, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        match key:
            case ClaimKey(place):
                return self._look_at_claim(place)
            case VolumeKey(place):
                return self._look_at_volume(place)

    def _look_at_claim(self, key: ObjectKey) -> Plan:
        claim = self._caches.claims.get(key)
        if claim is None:
            return Plan()
        storage_class = self._caches.storage_classes.get(ObjectKey("", get_class_name(claim)))
        return plan_claim(
            ObservedClaim(claim, self._caches.volumes.objects(), storage_class, self._find_node(key))
        )

    def _look_at_volume(self, key: ObjectKey) -> Plan:
        volume = self._caches.volumes.get(key)
        if volume is None:
            return Plan()
        reference = volume.spec.claim_ref
        claim = None
        if reference is not None:
            claim = self._caches.claims.get(ObjectKey(reference.namespace, reference.name))
        return plan_volume(ObservedVolume(volume, claim))

    def _find_node(self, claim_key: ObjectKey) -> Node | None:
        """Where a pod that uses the claim has been placed; the oldest pod's word counts."""
        pods = self._caches.pods.select(BY_CLAIM, claim_key)
        for pod in sorted(pods, key=lambda each: (each.metadata.creation_timestamp or "", each.key)):
            node = self._caches.nodes.get(ObjectKey("", pod.spec.node_name)) if pod.spec.node_name else None
            if node is not None and pod.status.phase not in ("Succeeded", "Failed"):
                return node
        return None

    def _note_claim(self, change: Change[PersistentVolumeClaim]) -> None:
        self.queue.add(ClaimKey(change.key))
        seen = change.new or change.old
        if seen is not None and seen.spec.volume_name:
            self.queue.add(VolumeKey(ObjectKey("", seen.spec.volume_name)))
        if change.new is None or (change.old is not None and change.old.spec != change.new.spec):
            for volume in self._caches.volumes.objects():
                reference = volume.spec.claim_ref
                if reference is not None and ObjectKey(reference.namespace, reference.name) == change.key:
                    self.queue.add(VolumeKey(volume.key))

    def _note_volume(self, change: Change[PersistentVolume]) -> None:
        """The claim that it is for, the claim that names it, and all that might want it."""
        self.queue.add(VolumeKey(change.key))
        for claim in self._caches.claims.objects():
            if claim.spec.volume_name == change.key.name or BIND_COMPLETED not in claim.metadata.annotations:
                self.queue.add(ClaimKey(claim.key))

    def _note_class(self, change: Change[StorageClass]) -> None:
        for claim in self._caches.claims.objects():
            if get_class_name(claim) == change.key.name and not claim.spec.volume_name:
                self.queue.add(ClaimKey(claim.key))

    def _note_pod(self, change: Change[Pod]) -> None:
        """A claim may wait for the pod's node."""
        pod = change.new
        if pod is None or not pod.spec.node_name:
            return
        if change.old is not None and change.old.spec.node_name == pod.spec.node_name:
            return
        for key in list_claim_keys(pod):
            claim = self._caches.claims.get(key)
            if claim is not None and not claim.spec.volume_name:
                self.queue.add(ClaimKey(key))
