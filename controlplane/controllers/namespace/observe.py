"""Namespaces that are being deleted: which changes ask for a look, and what a look sees.

Does IO: lists what is left in the namespace live, because no cache knows every kind. Run by
`controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import Caches
from controlplane.controllers.namespace.plan import RUNNING_FIRST, THE_REST, ObservedNamespace, plan_namespace
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.client import Client
from kubeapi.meta import Object, ObjectKey
from kubeapi.object_store import Change
from kubeapi.resources import Resource


class NamespaceReconciler:
    name = "namespace"

    def __init__(self, caches: Caches, client: Client) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches
        self._client = client

    def subscribe(self) -> None:
        self._caches.namespaces.subscribe(lambda change: self.queue.add(change.key))
        for cache in self._caches.each():
            if cache.resource.namespaced:
                cache.subscribe(self._note_content)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        namespace = self._caches.namespaces.get(key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return Plan()
        contents: dict[str, tuple[Object, ...]] = {}
        for stage in (RUNNING_FIRST, THE_REST):
            for resource in stage:
                contents[resource.path()] = await self._list(resource, key.name)
            if any(contents.values()):
                break
        return plan_namespace(ObservedNamespace(namespace, contents))

    async def _list(self, resource: Resource[Any], namespace: str) -> tuple[Object, ...]:
        metadata_only: Resource[Any] = replace(resource, view=Object)
        return (await self._client.list(metadata_only, namespace)).items

    def _note_content(self, change: Change[Any]) -> None:
        """Something is going or gone: perhaps it was what the next step waited for."""
        if change.new is not None and change.new.metadata.deletion_timestamp is None:
            return
        namespace = self._caches.namespaces.get(ObjectKey("", change.key.namespace))
        if namespace is not None and namespace.metadata.deletion_timestamp is not None:
            self.queue.add(namespace.key)
