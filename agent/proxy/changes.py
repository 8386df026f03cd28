"""Which Services changed, and which EndpointSlices belong to each.

Pure (no IO), with state. Takes the informers' notices, looks up nothing but what changed, and hands out the
names of the Services to plan again. Used by the proxy alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.proxy.plan import find_service_key
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import ObjectKey


class ServiceChanges:
    def __init__(self) -> None:
        self._slices: dict[ObjectKey, dict[ObjectKey, EndpointSlice]] = {}
        self._changed: dict[ObjectKey, None] = {}

    def note_service(self, change: Change[Service]) -> None:
        self._changed[change.key] = None

    def note_slice(self, change: Change[EndpointSlice]) -> None:
        """A slice may move to another Service, or cease to belong to any; both are planned again."""
        if change.old is not None and (owner := find_service_key(change.old)):
            self._forget(owner, change.key)
        if change.new is not None and (owner := find_service_key(change.new)):
            self._slices.setdefault(owner, {})[change.key] = change.new
            self._changed[owner] = None

    def _forget(self, owner: ObjectKey, key: ObjectKey) -> None:
        slices = self._slices.get(owner, {})
        slices.pop(key, None)
        if not slices:
            self._slices.pop(owner, None)
        self._changed[owner] = None

    def slices(self, service: ObjectKey) -> Iterable[EndpointSlice]:
        """In the order of their names."""
        slices = self._slices.get(service, {})
        return (slices[key] for key in sorted(slices))

    def take(self) -> tuple[ObjectKey, ...]:
        """The Services that changed since the last call."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed
