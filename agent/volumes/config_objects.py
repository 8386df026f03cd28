"""The ConfigMaps and Secrets that this node's pods name, watched one by one.

IO: one informer for each named object while some pod names it, and a GET while that informer isn't synced
yet. Called by `agent.pods` (environment) and by `source` (volumes); tells which pods a change concerns. A
node may read only what its pods name, hence watches by name and never a namespace's whole list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from kubeapi.meta import ObjectKey
from kubeapi.pod import Container, Pod, PodUID
from kubeapi.volume import Volume

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class ConfigMapName:
    key: ObjectKey


@dataclass(frozen=True, slots=True, order=True)
class SecretName:
    key: ObjectKey


ConfigName = ConfigMapName | SecretName


class ObjectWatch(Protocol):
    """One watched object: what `kubeapi.informer.Informer` is when it selects a single name."""

    async def run(self) -> None:
        """Watches until cancelled."""

    def is_synced(self) -> bool: ...

    def current(self) -> Mapping[str, bytes] | None:
        """The object's data as last seen; None: it doesn't exist."""


class ConfigApi(Protocol):
    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> ObjectWatch:
        """A watch that isn't running yet."""

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        """The object's data by GET; None: it doesn't exist. Raises KubeAPIError."""


@dataclass(slots=True)
class _Watched:
    watch: ObjectWatch
    task: asyncio.Task[None]
    pods: set[PodUID] = field(default_factory=set)


class WatchedConfig:
    """`agent.pods.ports.ConfigSource`, ref-counted by the pods that name the objects."""

    def __init__(self, api: ConfigApi) -> None:
        self._api = api
        self._watched: dict[ConfigName, _Watched] = {}
        self._handlers: list[Callable[[PodUID], None]] = []
        self._unnamed_handlers: list[Callable[[ConfigName], None]] = []

    def retain(self, pod: Pod) -> None:
        """Watches what the pod names from now on, and no longer what only its older version named."""
        wanted = list_config_names(pod)
        for name in [
            name for name, entry in self._watched.items() if pod.uid in entry.pods and name not in wanted
        ]:
            self._drop(name, pod.uid)
        for name in sorted(wanted, key=repr):
            self._watch(name).pods.add(pod.uid)

    def release(self, uid: PodUID) -> None:
        """Ends the watches that only this pod needed. Idempotent."""
        for name in [name for name, entry in self._watched.items() if uid in entry.pods]:
            self._drop(name, uid)

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        """Called for each pod that names a changed object; sync and quick."""
        self._handlers.append(handler)

    def subscribe_unnamed(self, handler: Callable[[ConfigName], None]) -> None:
        """Called for each object that no pod names any more; sync and quick."""
        self._unnamed_handlers.append(handler)

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return await self._read(ConfigMapName(key))

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return await self._read(SecretName(key))

    async def aclose(self) -> None:
        """Ends all watches."""
        tasks = [entry.task for entry in self._watched.values()]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, name: ConfigName) -> Mapping[str, bytes] | None:
        entry = self._watched.get(name)
        if entry is not None and entry.watch.is_synced():
            return entry.watch.current()
        return await self._api.read_object(name)

    def _watch(self, name: ConfigName) -> _Watched:
        entry = self._watched.get(name)
        if entry is None:
            watch = self._api.watch_object(name, lambda: self._notify(name))
            task = asyncio.get_running_loop().create_task(watch.run(), name=f"watch {name}")
            task.add_done_callback(_log_failure)
            entry = self._watched[name] = _Watched(watch, task)
        return entry

    def _drop(self, name: ConfigName, uid: PodUID) -> None:
        entry = self._watched[name]
        entry.pods.discard(uid)
        if not entry.pods:
            del self._watched[name]
            entry.task.cancel()
            for handler in self._unnamed_handlers:
                handler(name)

    def _notify(self, name: ConfigName) -> None:
        entry = self._watched.get(name)
        for uid in sorted(entry.pods) if entry is not None else ():
            for handler in self._handlers:
                handler(uid)


def list_config_names(pod: Pod) -> frozenset[ConfigName]:
    """Every ConfigMap and Secret that the pod's volumes, environment and pull secrets name."""
    namespace = pod.metadata.namespace
    names = set(_named_by_volumes(pod.spec.volumes))
    for container in (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers):
        names.update(_named_by_environment(container))
    names.update((_SECRET, reference.name) for reference in pod.spec.image_pull_secrets)
    return frozenset(_config_name(kind, ObjectKey(namespace, name)) for kind, name in names if name)


_CONFIG_MAP: Final = "ConfigMap"
_SECRET: Final = "Secret"


def _config_name(kind: str, key: ObjectKey) -> ConfigName:
    return ConfigMapName(key) if kind == _CONFIG_MAP else SecretName(key)


def _named_by_volumes(volumes: tuple[Volume, ...]) -> Iterator[tuple[str, str]]:
    for volume in volumes:
        if volume.config_map is not None:
            yield _CONFIG_MAP, volume.config_map.name
        if volume.secret is not None:
            yield _SECRET, volume.secret.secret_name
        for projection in volume.projected.sources if volume.projected is not None else ():
            if projection.config_map is not None:
                yield _CONFIG_MAP, projection.config_map.name
            if projection.secret is not None:
                yield _SECRET, projection.secret.name


def _named_by_environment(container: Container) -> Iterator[tuple[str, str]]:
    for source in container.env_from:
        if source.config_map_ref is not None:
            yield _CONFIG_MAP, source.config_map_ref.name
        if source.secret_ref is not None:
            yield _SECRET, source.secret_ref.name
    for variable in container.env:
        value_from = variable.value_from
        if value_from is not None and value_from.config_map_key_ref is not None:
            yield _CONFIG_MAP, value_from.config_map_key_ref.name
        if value_from is not None and value_from.secret_key_ref is not None:
            yield _SECRET, value_from.secret_key_ref.name


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a watch of a ConfigMap or Secret ended", extra={"watch": task.get_name()}, exc_info=error)
