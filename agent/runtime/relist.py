"""Looks at all of the node's sandboxes and containers once a second, and says which pods changed.

IO through the runtime port. One loop for the node; whoever is told looks at its own pod again. Container
events, where the runtime has them, are hints that come earlier; containerd 1.6 has none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Protocol

from agent.runtime.errors import RuntimeServiceError, RuntimeUnimplemented
from agent.runtime.service import RuntimeService
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeSandbox
from kubeapi.pod import PodUID

_logger = logging.getLogger(__name__)

_INTERVAL_SECONDS: Final = 1.0
_EVENTS_RETRY_SECONDS: Final = 5.0
STALL_SECONDS: Final = 180.0  # upstream's threshold of the pod lifecycle event generator

Fingerprint = frozenset[tuple[str, str]]
"""Which sandboxes and containers a pod has, and the state of each."""


class _Sandbox(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def ready(self) -> bool: ...


class _Container(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def state(self) -> ContainerState: ...


def compute_fingerprint(sandboxes: Iterable[_Sandbox], containers: Iterable[_Container]) -> Fingerprint:
    """Of what the runtime showed of one pod, in a list or a status."""
    return frozenset(
        [(sandbox.id, "ready" if sandbox.ready else "notready") for sandbox in sandboxes]
        + [(container.id, container.state.value) for container in containers]
    )


def group_by_pod(
    sandboxes: Iterable[RuntimeSandbox], containers: Iterable[RuntimeContainer]
) -> Mapping[PodUID, Fingerprint]:
    """The fingerprint of each pod that the runtime knows."""
    entries: defaultdict[PodUID, set[tuple[str, str]]] = defaultdict(set)
    for sandbox in sandboxes:
        entries[sandbox.pod_uid] |= compute_fingerprint((sandbox,), ())
    for container in containers:
        entries[container.pod_uid] |= compute_fingerprint((), (container,))
    return {uid: frozenset(found) for uid, found in entries.items()}


class Relist:
    """`on_relist` gets every pod's fingerprint after each look; `pods` is the last one."""

    def __init__(
        self,
        runtime: RuntimeService,
        on_relist: Callable[[Mapping[PodUID, Fingerprint]], None],
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._runtime = runtime
        self._on_relist = on_relist
        self._interval_seconds = interval_seconds
        self._trouble = ""
        self._last_at: float | None = None  # on the event loop's clock

    def find_stall(self) -> str:
        """Why nobody knows how the node's pods are any more; empty while a look that succeeded is recent.

        One answer that is missing says little: the lists may be slow for a moment.
        """
        if self._last_at is None:
            return ""
        seconds = asyncio.get_running_loop().time() - self._last_at
        if seconds < STALL_SECONDS:
            return ""
        whole = f"{int(seconds // 60)}m{seconds % 60:.0f}s"
        return f"PLEG is not healthy: pleg was last seen active {whole} ago; threshold is 3m0s"

    @property
    def trouble(self) -> str:
        """Why the runtime's lists can't be read now; empty when they can."""
        return self._trouble

    async def run(self) -> None:
        """Until cancelled; a runtime that doesn't answer is asked again."""
        self._last_at = asyncio.get_running_loop().time()
        while True:
            await self._relist()
            await asyncio.sleep(self._interval_seconds)

    async def _relist(self) -> None:
        try:
            sandboxes, containers = await asyncio.gather(
                self._runtime.list_pod_sandboxes(), self._runtime.list_containers()
            )
        except RuntimeServiceError as error:
            if not self._trouble:
                _logger.warning("the runtime's lists can't be read", extra={"error": str(error)})
            self._trouble = str(error)
            return
        if self._trouble:
            _logger.info("the runtime answers again")
        self._trouble = ""
        self._last_at = asyncio.get_running_loop().time()
        self._on_relist(group_by_pod(sandboxes, containers))


async def watch_hints(watch: Callable[[], AsyncIterator[PodUID]], on_hint: Callable[[PodUID], None]) -> None:
    """Passes on the runtime's container events; ends where there are none, for the relist is enough."""
    while True:
        try:
            async for uid in watch():
                on_hint(uid)
        except RuntimeUnimplemented:
            return
        except RuntimeServiceError as error:
            _logger.debug("container events ended", extra={"error": str(error)})
        await asyncio.sleep(_EVENTS_RETRY_SECONDS)
