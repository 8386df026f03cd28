"""The RuntimeClasses of the cluster, as far as pods of this node name them.

IO: `<root>/checkpoint/runtime-classes/<name>.json`, so that pods come back on a node that is started anew
while the API server is away. Implements `runtime_class.RuntimeHandlers` on an informer; made by
`agent.kube_cluster`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from agent.checkpoint.files import StateFiles
from agent.checkpoint.records import RecordError
from agent.object_source import ObjectSource
from agent.pods.ports import Unavailable
from kubeapi.meta import ObjectKey
from kubeapi.node_classes import RuntimeClass
from kubeapi.pod import Pod

_SANDBOX_ERROR: Final = "FailedCreatePodSandBox"
_ANSWER_SECONDS: Final = 5.0


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    handler: str


class ClassHandlers:
    """`read_all` once, before anything is asked; then `run` beside whoever asks."""

    def __init__(
        self,
        classes: ObjectSource[RuntimeClass],
        root_dir: Path,
        *,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._classes = classes
        self._answer_seconds = answer_seconds
        self._files = StateFiles(root_dir / "checkpoint" / "runtime-classes")
        self._known: dict[str, str] = {}

    def read_all(self) -> None:
        """What the disk remembers; a file that can't be read is set aside, with a warning."""
        for name, record in self._files.read_all(_decode):
            self._known[name] = record.handler

    async def run(self) -> None:
        """Writes to the disk, until cancelled."""
        await self._files.run()

    async def find_handler(self, pod: Pod) -> str:
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        if not self._classes.has_synced:
            await self._wait_for_classes(name)
        if (handler := self.peek_handler(pod)) is None:
            self._forget(name)
            raise Unavailable(_SANDBOX_ERROR, f'runtimeclass.node.k8s.io "{name}" not found')
        self._remember(name, handler)
        return handler

    def peek_handler(self, pod: Pod) -> str | None:
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        if not self._classes.has_synced:
            return self._known.get(name)
        found = self._classes.get(ObjectKey("", name))
        return found.handler if found is not None else None

    async def _wait_for_classes(self, name: str) -> None:
        """A while; then what is remembered of the class must do."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._classes.wait_until_synced()
        except TimeoutError as error:
            if name not in self._known:
                message = f"failed to lookup RuntimeClass {name}: the API server doesn't answer"
                raise Unavailable(_SANDBOX_ERROR, message) from error

    def _remember(self, name: str, handler: str) -> None:
        if self._known.get(name) != handler:
            self._known[name] = handler
            self._files.put(name, partial(msgspec.json.encode, _Record(handler=handler)))

    def _forget(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self._files.remove(name)


def _decode(data: bytes) -> _Record:
    try:
        return msgspec.json.decode(data, type=_Record)
    except msgspec.MsgspecError as error:
        raise RecordError(f"no remembered RuntimeClass: {error}") from error
