"""Deployments: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.controllers.actions import Plan
from controlplane.controllers.cache import BY_NAMESPACE, BY_OWNER
from controlplane.controllers.caches import BY_ORPHANAGE, Caches
from controlplane.controllers.claim import get_controller
from controlplane.controllers.deployment.plan import ObservedDeployment, plan_deployment
from controlplane.controllers.deployment.revisions import compute_replica_set_name
from controlplane.controllers.pod_state import is_pod_finished
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.apps import Deployment, ReplicaSet
from kubeapi.meta import Object, ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.selectors import build_label_selector


class DeploymentReconciler:
    name = "deployment"

    def __init__(self, caches: Caches) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches

    def subscribe(self) -> None:
        self._caches.deployments.subscribe(lambda change: self.queue.add(change.key))
        self._caches.replica_sets.subscribe(self._note_replica_set)
        self._caches.pods.subscribe(self._note_pod)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        deployment = self._caches.deployments.get(key)
        return Plan() if deployment is None else plan_deployment(self._observe(deployment), now)

    def _observe(self, deployment: Deployment) -> ObservedDeployment:
        replica_sets = self._caches.replica_sets
        owned = replica_sets.select(BY_OWNER, deployment.metadata.uid)
        orphans = replica_sets.select(BY_ORPHANAGE, deployment.metadata.namespace)
        name = compute_replica_set_name(deployment)
        return ObservedDeployment(
            deployment,
            (*owned, *orphans),
            {each.metadata.uid: self._caches.pods.select(BY_OWNER, each.metadata.uid) for each in owned},
            replica_sets.get(ObjectKey(deployment.metadata.namespace, name)),
        )

    def _note_replica_set(self, change: Change[ReplicaSet]) -> None:
        for each in (change.old, change.new):
            if each is not None:
                self._note_controller(each)
        if change.new is not None and get_controller(change.new) is None:
            for deployment in self._caches.deployments.select(BY_NAMESPACE, change.key.namespace):
                selector = build_label_selector(deployment.spec.selector)
                if selector.matches(change.new.metadata.labels):
                    self.queue.add(deployment.key)

    def _note_pod(self, change: Change[Pod]) -> None:
        """The end of a pod may be what a Recreate waits for; what else pods do, ReplicaSets tell."""
        if change.old is None or (change.new is not None and not is_pod_finished(change.new)):
            return
        controller = get_controller(change.old)
        owner = self._caches.replica_sets.get_by_uid(controller.uid) if controller is not None else None
        if owner is not None:
            self._note_controller(owner)

    def _note_controller(self, object_: Object) -> None:
        controller = get_controller(object_)
        if controller is not None and controller.kind == "Deployment":
            self.queue.add(ObjectKey(object_.metadata.namespace, controller.name))
