"""ReplicaSets: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.controllers.actions import Plan
from controlplane.controllers.cache import BY_NAMESPACE, BY_OWNER
from controlplane.controllers.caches import BY_ORPHANAGE, Caches
from controlplane.controllers.claim import get_controller
from controlplane.controllers.replicaset.plan import ObservedReplicaSet, plan_replica_set
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.apps import ReplicaSet
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.selectors import build_label_selector


class ReplicaSetReconciler:
    name = "replicaset"

    def __init__(self, caches: Caches) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches

    def subscribe(self) -> None:
        self._caches.replica_sets.subscribe(lambda change: self.queue.add(change.key))
        self._caches.pods.subscribe(self._note_pod)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:
        replica_set = self._caches.replica_sets.get(key)
        if replica_set is None:
            return Plan()
        return plan_replica_set(self._observe(replica_set, last_failure), now)

    def _observe(self, replica_set: ReplicaSet, last_failure: str) -> ObservedReplicaSet:
        pods = self._caches.pods
        owned = pods.select(BY_OWNER, replica_set.metadata.uid)
        orphans = pods.select(BY_ORPHANAGE, replica_set.metadata.namespace)
        controller = get_controller(replica_set)
        siblings: tuple[Pod, ...] = ()
        # Only a ReplicaSet that has too many pods asks how crowded their nodes are.
        if controller is not None and len(owned) > replica_set.spec.replicas:
            family = self._caches.replica_sets.select(BY_OWNER, controller.uid)
            siblings = tuple(pod for each in family for pod in pods.select(BY_OWNER, each.metadata.uid))
        return ObservedReplicaSet(replica_set, (*owned, *orphans), siblings, last_failure)

    def _note_pod(self, change: Change[Pod]) -> None:
        """The controller before and the controller now; for an orphan, every ReplicaSet that selects it."""
        for pod in (change.old, change.new):
            controller = get_controller(pod) if pod is not None else None
            if pod is not None and controller is not None and controller.kind == "ReplicaSet":
                self.queue.add(ObjectKey(pod.metadata.namespace, controller.name))
        if change.new is not None and get_controller(change.new) is None:
            self._note_orphan(change.new)

    def _note_orphan(self, pod: Pod) -> None:
        for each in self._caches.replica_sets.select(BY_NAMESPACE, pod.metadata.namespace):
            if build_label_selector(each.spec.selector).matches(pod.metadata.labels):
                self.queue.add(each.key)
