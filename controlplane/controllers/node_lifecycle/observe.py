"""Node lifecycle: which changes ask for a look, and what a look sees.

No IO: reads the caches, and remembers when each node's heartbeat last moved. Run by
`controlplane.controllers.loop`; decisions are in `plan`. After a start every node is given the whole grace
period.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import BY_NODE, Caches
from controlplane.controllers.conditions import get_condition
from controlplane.controllers.node_lifecycle.plan import ObservedNode, plan_node_lifecycle
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.coordination import Lease
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod

LEASE_NAMESPACE: Final = "kube-node-lease"

_Heartbeat = tuple[str | None, str | None]


class NodeLifecycleReconciler:
    name = "node-lifecycle"

    def __init__(self, caches: Caches, grace_seconds: float) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches
        self._grace_seconds = grace_seconds
        self._heard: dict[str, tuple[_Heartbeat, datetime]] = {}

    def subscribe(self) -> None:
        self._caches.nodes.subscribe(self._note_node)
        self._caches.leases.subscribe(self._note_lease)
        self._caches.pods.subscribe(self._note_pod)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        node = self._caches.nodes.get(key)
        if node is None:
            return Plan()
        pods = self._caches.pods.select(BY_NODE, key.name)
        return plan_node_lifecycle(ObservedNode(node, self._hear(node, now), pods), self._grace_seconds, now)

    def _hear(self, node: Node, now: datetime) -> datetime:
        """When the node's heartbeat became what it is now, by our clock."""
        lease = self._caches.leases.get(ObjectKey(LEASE_NAMESPACE, node.metadata.name))
        ready = get_condition(node.status.conditions, "Ready")
        beat = (lease.spec.renew_time if lease else None, ready.last_heartbeat_time if ready else None)
        known = self._heard.get(node.metadata.uid)
        if known is None or known[0] != beat:
            known = self._heard[node.metadata.uid] = (beat, now)
        return known[1]

    def _note_node(self, change: Change[Node]) -> None:
        if change.new is None and change.old is not None:
            self._heard.pop(change.old.metadata.uid, None)
        self.queue.add(change.key)

    def _note_lease(self, change: Change[Lease]) -> None:
        if change.key.namespace == LEASE_NAMESPACE:
            self.queue.add(ObjectKey("", change.key.name))

    def _note_pod(self, change: Change[Pod]) -> None:
        """Of interest only while the pod's node is silent, when nobody else would tell that the pod is not
        ready.
        """
        if change.new is None or not change.new.spec.node_name:
            return
        key = ObjectKey("", change.new.spec.node_name)
        node = self._caches.nodes.get(key)
        ready = get_condition(node.status.conditions, "Ready") if node is not None else None
        if ready is not None and ready.status == "Unknown":
            self.queue.add(key)
