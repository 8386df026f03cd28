"""Services and their EndpointSlices: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop`; decisions are in `plan`. A pod's change
finds its Services by an index, not by asking them all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import BY_LABEL, BY_NODE, BY_SELECTOR, BY_SERVICE, Caches, index_labels
from controlplane.controllers.endpointslice.plan import MANAGED_BY, ObservedService, plan_endpoint_slices
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.core import Node, Service
from kubeapi.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL, EndpointSlice
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod

ZONE_LABEL: Final = "topology.kubernetes.io/zone"


class EndpointSliceReconciler:
    name = "endpointslice"

    def __init__(self, caches: Caches) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches

    def subscribe(self) -> None:
        self._caches.services.subscribe(lambda change: self.queue.add(change.key))
        self._caches.endpoint_slices.subscribe(self._note_slice)
        self._caches.pods.subscribe(self._note_pod)
        self._caches.nodes.subscribe(self._note_node)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        service = self._caches.services.get(key)
        return Plan() if service is None else plan_endpoint_slices(self._observe(service), now)

    def _observe(self, service: Service) -> ObservedService:
        pods = self._select_pods(service)
        filed = self._caches.endpoint_slices.select(
            BY_SERVICE, (service.metadata.namespace, service.metadata.name)
        )
        slices = tuple(each for each in filed if each.metadata.labels.get(MANAGED_BY_LABEL) == MANAGED_BY)
        return ObservedService(service, pods, slices, self._get_zones(pods))

    def _select_pods(self, service: Service) -> tuple[Pod, ...]:
        pairs = service.spec.selector.items()
        if not pairs:
            return ()
        files = (self._caches.pods.select(BY_LABEL, (service.metadata.namespace, *pair)) for pair in pairs)
        smallest = min(files, key=len)
        return tuple(pod for pod in smallest if pairs <= pod.metadata.labels.items())

    def _get_zones(self, pods: tuple[Pod, ...]) -> dict[str, str]:
        names = {pod.spec.node_name for pod in pods}
        nodes = (self._caches.nodes.get(ObjectKey("", name)) for name in names)
        return {node.metadata.name: node.metadata.labels.get(ZONE_LABEL, "") for node in nodes if node}

    def _note_pod(self, change: Change[Pod]) -> None:
        for pod in (change.old, change.new):
            if pod is not None:
                self._note_services_of(pod)

    def _note_services_of(self, pod: Pod) -> None:
        for pair in index_labels(pod):
            for service in self._caches.services.select(BY_SELECTOR, pair):
                if service.spec.selector.items() <= pod.metadata.labels.items():
                    self.queue.add(service.key)

    def _note_slice(self, change: Change[EndpointSlice]) -> None:
        for each in (change.old, change.new):
            name = each.metadata.labels.get(SERVICE_NAME_LABEL) if each is not None else None
            if name:
                self.queue.add(ObjectKey(change.key.namespace, name))

    def _note_node(self, change: Change[Node]) -> None:
        """A node's zone is in the endpoints of its pods; the rest of a node isn't."""
        zones = [each.metadata.labels.get(ZONE_LABEL) if each else None for each in (change.old, change.new)]
        if zones[0] != zones[1]:
            for pod in self._caches.pods.select(BY_NODE, change.key.name):
                self._note_services_of(pod)
