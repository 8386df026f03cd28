"""Namespaces' default content: which changes ask for a look, and what a look sees.

No IO: reads the caches. Run by `controlplane.controllers.loop`; decisions are in `plan`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.controllers.actions import Plan
from controlplane.controllers.caches import Caches
from controlplane.controllers.namespace_defaults.plan import (
    ROOT_CA_NAME,
    SERVICE_ACCOUNT_NAME,
    ObservedDefaults,
    plan_namespace_defaults,
)
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change


class NamespaceDefaultsReconciler:
    name = "namespace-defaults"

    def __init__(self, caches: Caches, root_ca: str) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self._caches = caches
        self._root_ca = root_ca

    def subscribe(self) -> None:
        self._caches.namespaces.subscribe(lambda change: self.queue.add(change.key))
        self._caches.service_accounts.subscribe(self._note_content)
        self._caches.config_maps.subscribe(self._note_content)

    async def look(self, key: ObjectKey, now: datetime, last_failure: str) -> Plan:  # noqa: ARG002
        namespace = self._caches.namespaces.get(key)
        if namespace is None:
            return Plan()
        account = self._caches.service_accounts.get(ObjectKey(key.name, SERVICE_ACCOUNT_NAME))
        config_map = self._caches.config_maps.get(ObjectKey(key.name, ROOT_CA_NAME))
        observed = ObservedDefaults(namespace, account is not None, config_map)
        return plan_namespace_defaults(observed, self._root_ca)

    def _note_content(self, change: Change[Any]) -> None:
        if change.key.name in (SERVICE_ACCOUNT_NAME, ROOT_CA_NAME):
            self.queue.add(ObjectKey("", change.key.namespace))
