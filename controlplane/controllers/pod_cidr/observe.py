"""Pod CIDRs: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop` with a single worker, so that each
allocation sees the ones before it; decisions are in `plan`.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import Caches
from controlplane.controllers.pod_cidr.plan import Network, ObservedCIDRs, get_cidrs, plan_pod_cidr
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change


class PodCIDRReconciler:
    name = "pod-cidr"

    def __init__(self, caches: Caches, cluster_cidr: Network, mask_size: int) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches
        self._cluster_cidr = cluster_cidr
        self._mask_size = mask_size

    def subscribe(self) -> None:
        self._caches.nodes.subscribe(self._note_node)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        node = self._caches.nodes.get(key)
        if node is None or get_cidrs(node):
            return Plan()
        taken = tuple(cidr for each in self._caches.nodes.objects() for cidr in get_cidrs(each))
        return plan_pod_cidr(ObservedCIDRs(node, taken), self._cluster_cidr, self._mask_size)

    def _note_node(self, change: Change[Node]) -> None:
        """Only new nodes matter, and those that left: what they held is free for whoever waits."""
        if change.new is None:
            for each in self._caches.nodes.objects():
                if not get_cidrs(each):
                    self.queue.add(each.key)
        elif not get_cidrs(change.new) and (change.old is None or get_cidrs(change.old)):
            self.queue.add(change.key)
