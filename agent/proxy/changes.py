"""Which Services changed, which EndpointSlices belong to each, and which Services a pod of this node is in.

Pure (no IO), with state. Takes the informers' notices, looks up nothing but what changed, and hands out the
names of the Services to plan again. Used by the proxy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.proxy.plan import find_service_key
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import ObjectKey
from kubeapi.pod import PodUID


class ServiceChanges:
    """`node_name`: whose pods `services_of` knows."""

    def __init__(self, node_name: str = "") -> None:
        self._node_name = node_name
        self._services_of: dict[PodUID, dict[ObjectKey, ObjectKey]] = {}
        self._uids: dict[ObjectKey, PodUID] = {}
        self._slices: dict[ObjectKey, dict[ObjectKey, EndpointSlice]] = {}
        self._changed: dict[ObjectKey, None] = {}

    def note_service(self, change: Change[Service]) -> None:
        self._changed[change.key] = None

    def note_slice(self, change: Change[EndpointSlice]) -> None:
        """A slice may move to another Service, or cease to belong to any; both are planned again."""
        if change.old is not None and (owner := find_service_key(change.old)):
            self._forget(owner, change.key)
            self._forget_pods(change.old)
        if change.new is not None and (owner := find_service_key(change.new)):
            self._slices.setdefault(owner, {})[change.key] = change.new
            for uid, pod in self._local_pods(change.new):
                self._services_of.setdefault(uid, {})[change.key] = owner
                self._uids[pod] = uid
            self._changed[owner] = None

    def _forget(self, owner: ObjectKey, key: ObjectKey) -> None:
        slices = self._slices.get(owner, {})
        slices.pop(key, None)
        if not slices:
            self._slices.pop(owner, None)
        self._changed[owner] = None

    def _forget_pods(self, endpoint_slice: EndpointSlice) -> None:
        for uid, pod in self._local_pods(endpoint_slice):
            services = self._services_of.get(uid, {})
            services.pop(endpoint_slice.key, None)
            if not services:
                self._services_of.pop(uid, None)
                if self._uids.get(pod) == uid:
                    del self._uids[pod]

    def _local_pods(self, endpoint_slice: EndpointSlice) -> Iterator[tuple[PodUID, ObjectKey]]:
        for endpoint in endpoint_slice.endpoints:
            pod = endpoint.target_ref
            if pod is not None and endpoint.node_name == self._node_name:
                yield PodUID(pod.uid), ObjectKey(pod.namespace, pod.name)

    def find_uid(self, pod: ObjectKey) -> PodUID | None:
        """What the slices call this pod of the node; None when none lists it."""
        return self._uids.get(pod)

    def services_of(self, uid: PodUID) -> frozenset[ObjectKey]:
        """The Services whose slices list this pod of the node."""
        return frozenset(self._services_of.get(uid, {}).values())

    def note_pod(self, uid: PodUID) -> None:
        """The pod begins or ceases to drain: its Services are planned again."""
        self._changed.update(dict.fromkeys(self.services_of(uid)))

    def slices(self, service: ObjectKey) -> Iterable[EndpointSlice]:
        """In the order of their names."""
        slices = self._slices.get(service, {})
        return (slices[key] for key in sorted(slices))

    def take(self) -> tuple[ObjectKey, ...]:
        """The Services that changed since the last call."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed
