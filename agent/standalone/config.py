"""ConfigMaps and Secrets from the manifests: `agent.volumes.config_objects.ConfigApi` without an API server.

No IO: reads `LocalObjects`. Joined by `cluster`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from agent.standalone.local_objects import LocalObjects
from agent.volumes.config_api import read_data
from agent.volumes.config_objects import ConfigMapName, ConfigName
from kubeapi.core import ConfigMap, Secret
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change


class LocalConfigWatch:
    """`ObjectWatch` on one object."""

    def __init__(
        self,
        objects: LocalObjects[ConfigMap] | LocalObjects[Secret],
        key: ObjectKey,
        notice: Callable[[], None],
    ) -> None:
        self._objects = objects
        self._key = key
        self._notice = notice

    async def run(self) -> None:
        with self._objects.watching(self._note):
            await asyncio.Event().wait()

    def _note(self, change: Change[ConfigMap] | Change[Secret]) -> None:
        if change.key == self._key:
            self._notice()

    def is_synced(self) -> bool:
        return self._objects.has_synced

    def current(self) -> Mapping[str, bytes] | None:
        found = self._objects.get(self._key)
        return None if found is None else read_data(found)


class LocalConfig:
    """`ConfigApi` on this node's own objects."""

    def __init__(self, config_maps: LocalObjects[ConfigMap], secrets: LocalObjects[Secret]) -> None:
        self._config_maps = config_maps
        self._secrets = secrets

    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> LocalConfigWatch:
        return LocalConfigWatch(self._choose(name), name.key, on_change)

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        """Once the directory has been read; the caller sets the deadline."""
        objects = self._choose(name)
        await objects.wait_until_synced()
        found = objects.get(name.key)
        return None if found is None else read_data(found)

    def _choose(self, name: ConfigName) -> LocalObjects[ConfigMap] | LocalObjects[Secret]:
        return self._config_maps if isinstance(name, ConfigMapName) else self._secrets
