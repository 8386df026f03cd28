"""ConfigMaps that survive the API server's absence, and a reboot during it: remembered on disk.

IO: `<root>/checkpoint/config-maps/<digest>.json`, mode 0600. Wraps another `ConfigApi` and answers for it
only while that gives no answer at all. Secrets are not remembered: they stay in memory and in tmpfs, and a
pod that needs one waits for the API server.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from agent.checkpoint.files import StateFiles
from agent.checkpoint.records import RecordError
from agent.volumes.config_objects import ConfigApi, ConfigMapName, ConfigName, ObjectWatch, list_config_names
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 3.0
_SERVER_TROUBLE: Final = 500
_TOO_MANY_REQUESTS: Final = 429


class ConfigMapRecord(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str
    name: str
    data: Mapping[str, bytes]


class RememberedConfig:
    """`read_all` once, before anything is asked; then `run` beside whoever asks."""

    def __init__(self, api: ConfigApi, root_dir: Path) -> None:
        self._api = api
        self._files = StateFiles(root_dir / "checkpoint" / "config-maps")
        self._known: dict[ConfigMapName, Mapping[str, bytes]] = {}

    def read_all(self) -> None:
        """What the disk remembers; a file that can't be read is set aside, with a warning."""
        for _, record in self._files.read_all(_decode):
            self._known[ConfigMapName(ObjectKey(record.namespace, record.name))] = record.data

    def keep_only(self, pods: Iterable[Pod]) -> None:
        """Forgets what none of these pods names."""
        named = {name for pod in pods for name in list_config_names(pod)}
        for name in [name for name in self._known if name not in named]:
            self._note(name, None)

    def forget(self, name: ConfigName) -> None:
        """No pod names it any more. Idempotent."""
        if isinstance(name, ConfigMapName):
            self._note(name, None)

    async def run(self) -> None:
        """Writes to the disk, until cancelled."""
        await self._files.run()

    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> ObjectWatch:
        if not isinstance(name, ConfigMapName):
            return self._api.watch_object(name, on_change)

        def note() -> None:
            self._note(name, watch.current())
            on_change()

        watch = self._api.watch_object(name, note)
        return watch

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        known = self._known.get(name) if isinstance(name, ConfigMapName) else None
        if known is None:
            return await self._read(name)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._read(name)
        except (KubeAPIError, TimeoutError) as error:
            if not _is_no_answer(error):
                raise
            _logger.info(
                "a ConfigMap is used as remembered", extra={"config_map": str(name.key), "error": str(error)}
            )
            return known

    async def _read(self, name: ConfigName) -> Mapping[str, bytes] | None:
        data = await self._api.read_object(name)
        if isinstance(name, ConfigMapName):
            self._note(name, data)
        return data

    def _note(self, name: ConfigMapName, data: Mapping[str, bytes] | None) -> None:
        if self._known.get(name) == data:
            return
        if data is None:
            del self._known[name]
            self._files.remove(_file_name(name.key))
        else:
            self._known[name] = data
            record = ConfigMapRecord(namespace=name.key.namespace, name=name.key.name, data=data)
            self._files.put(_file_name(name.key), partial(msgspec.json.encode, record))


def _is_no_answer(error: KubeAPIError | TimeoutError) -> bool:
    """Whether the server couldn't say; that there is none, or that it's forbidden, are answers."""
    if not isinstance(error, ApiStatusError):
        return True
    return error.code >= _SERVER_TROUBLE or error.code == _TOO_MANY_REQUESTS


def _decode(data: bytes) -> ConfigMapRecord:
    try:
        return msgspec.json.decode(data, type=ConfigMapRecord)
    except msgspec.MsgspecError as error:
        raise RecordError(f"no remembered ConfigMap: {error}") from error


def _file_name(key: ObjectKey) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()
