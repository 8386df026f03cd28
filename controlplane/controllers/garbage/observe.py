"""Owners and dependents of every kind that is watched: which changes ask for a look, and what a look sees.

Does IO: an owner that no cache shows is looked up live before it counts as gone, because the informers of
two kinds aren't ordered (a new ReplicaSet's first pod may be seen before the ReplicaSet). Run by
`controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from controlplane.controllers.actions import Plan
from controlplane.controllers.cache import BY_OWNER, Cache
from controlplane.controllers.caches import Caches
from controlplane.controllers.garbage.plan import (
    FOREGROUND,
    ORPHAN,
    Dependent,
    ObservedObject,
    OwnerState,
    plan_garbage,
)
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.client import Client
from kubeapi.errors import ApiStatusError
from kubeapi.meta import Object, OwnerReference
from kubeapi.object_store import Change
from kubeapi.resources import Resource

MOST_ABSENT_UIDS: Final = 10_000


class GarbageReconciler:
    """Keys are UIDs."""

    name = "garbage"

    def __init__(self, caches: Caches, client: Client) -> None:
        self.queue: WorkQueue[str] = WorkQueue()
        self._caches = caches.each()
        self._by_kind = {(cache.resource.api_version, cache.resource.kind): cache for cache in self._caches}
        self._client = client
        # A UID never comes back, so what was once seen to be gone stays gone. A dict for its order.
        self._absent: dict[str, None] = {}

    def subscribe(self) -> None:
        for cache in self._caches:
            cache.subscribe(self._note)

    async def look(self, key: str, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        found = self._find(key)
        if found is None:
            return Plan()
        cache, object_ = found
        dependents = tuple(
            Dependent(each.resource, dependent)
            for each in self._caches
            for dependent in each.select(BY_OWNER, key)
        )
        references = object_.metadata.owner_references
        states = [await self._observe_owner(each, object_.metadata.namespace) for each in references]
        return plan_garbage(ObservedObject(cache.resource, object_, tuple(states), dependents))

    async def _observe_owner(self, reference: OwnerReference, namespace: str) -> OwnerState:
        cache = self._by_kind.get((reference.api_version, reference.kind))
        if cache is None:
            return OwnerState.PRESENT
        owner: Object | None = cache.get_by_uid(reference.uid)
        if owner is None and reference.uid not in self._absent:
            owner = await self._look_live(cache.resource, reference, namespace)
        if owner is None:
            return OwnerState.ABSENT
        deleting = owner.metadata.deletion_timestamp is not None
        if deleting and FOREGROUND in owner.metadata.finalizers:
            return OwnerState.DELETING_FOREGROUND
        return OwnerState.PRESENT

    async def _look_live(
        self, resource: Resource[Any], reference: OwnerReference, namespace: str
    ) -> Object | None:
        metadata_only: Resource[Any] = replace(resource, view=Object)
        scope = namespace if resource.namespaced else ""
        try:
            owner: Object = await self._client.get(metadata_only, reference.name, scope)
        except ApiStatusError as error:
            if not error.is_not_found:
                raise
        else:
            if owner.metadata.uid == reference.uid:
                return owner
        self._absent[reference.uid] = None
        if len(self._absent) > MOST_ABSENT_UIDS:
            del self._absent[next(iter(self._absent))]
        return None

    def _find(self, uid: str) -> tuple[Cache[Any], Object] | None:
        for cache in self._caches:
            object_ = cache.get_by_uid(uid)
            if object_ is not None:
                return cache, object_
        return None

    def _note(self, change: Change[Any]) -> None:
        """An object that has owners or owes something to dependents; the dependents of one that goes, and the
        owners that may wait for it.
        """
        new: Object | None = change.new
        old: Object | None = change.old
        if new is not None and (new.metadata.owner_references or _owes(new)):
            self.queue.add(new.metadata.uid)
        going = new is None or _owes(new)
        if old is not None and (going or not _same_owners(old, new)):
            for reference in old.metadata.owner_references:
                self.queue.add(reference.uid)
            self._note_dependents(old.metadata.uid)
        elif new is not None and _owes(new):
            self._note_dependents(new.metadata.uid)

    def _note_dependents(self, uid: str) -> None:
        for cache in self._caches:
            for dependent in cache.select(BY_OWNER, uid):
                self.queue.add(dependent.metadata.uid)


def _owes(object_: Object) -> bool:
    """Its deletion waits for us."""
    meta = object_.metadata
    return meta.deletion_timestamp is not None and (
        FOREGROUND in meta.finalizers or ORPHAN in meta.finalizers
    )


def _same_owners(old: Object, new: Object | None) -> bool:
    return new is not None and old.metadata.owner_references == new.metadata.owner_references
