"""Claims and volumes in use: which changes ask for a look, and what a look sees.

Does IO before it takes a claim's protection away: a pod that the informer hasn't shown yet may use it, so
the namespace's pods are listed live. Run by `controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import BY_CLAIM, Caches
from controlplane.controllers.volume_protection.plan import plan_claim_protection, plan_volume_protection
from controlplane.controllers.work_queue import WorkQueue
from controlplane.volume_matching import list_claim_keys
from kubeapi.client import Client
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.resources import PODS


class ClaimProtectionReconciler:
    name = "claim-protection"

    def __init__(self, caches: Caches, client: Client) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches
        self._client = client

    def subscribe(self) -> None:
        self._caches.claims.subscribe(lambda change: self.queue.add(change.key))
        self._caches.pods.subscribe(self._note_pod)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        claim = self._caches.claims.get(key)
        if claim is None:
            return Plan()
        is_used = any(pod.spec.node_name for pod in self._caches.pods.select(BY_CLAIM, key))
        if claim.metadata.deletion_timestamp is not None and not is_used:
            is_used = await self._is_used_now(key)
        return plan_claim_protection(claim, is_used=is_used)

    async def _is_used_now(self, key: ObjectKey) -> bool:
        pods = (await self._client.list(PODS, key.namespace)).items
        return any(pod.spec.node_name and key in list_claim_keys(pod) for pod in pods)

    def _note_pod(self, change: Change[Pod]) -> None:
        """Only who leaves makes a claim free."""
        if change.new is None and change.old is not None:
            for key in list_claim_keys(change.old):
                self.queue.add(key)


class VolumeProtectionReconciler:
    name = "volume-protection"

    def __init__(self, caches: Caches) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches

    def subscribe(self) -> None:
        self._caches.volumes.subscribe(lambda change: self.queue.add(change.key))

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        volume = self._caches.volumes.get(key)
        return plan_volume_protection(volume) if volume is not None else Plan()
