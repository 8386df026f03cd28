"""Reads one pod from the runtime: two lists, and the statuses that changed since the last look.

IO through the runtime port. One observer for each lane; what it remembers (addresses of sandboxes, statuses
of exited containers) can't change any more and may be forgotten at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from agent.pods.observed import (
    ObservedContainer,
    ObservedPod,
    ObservedSandbox,
    build_observed_container,
    build_observed_pod,
    build_observed_sandbox,
)
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import RuntimeNotFound
from agent.runtime.relist import Fingerprint, compute_fingerprint
from agent.runtime.service import RuntimeService
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeContainerStatus, RuntimeSandbox
from kubeapi.pod import PodUID

FoundT = TypeVar("FoundT")

ReadMessage = Callable[[Mapping[str, str], RuntimeContainerStatus], str]


class PodObserver:
    """`read_message` answers what an exited container left as its termination message."""

    def __init__(self, runtime: RuntimeService, uid: PodUID, read_message: ReadMessage) -> None:
        self._runtime = runtime
        self._uid = uid
        self._read_message = read_message
        self._ips: dict[SandboxID, tuple[str, ...]] = {}
        self._containers: dict[ContainerID, ObservedContainer] = {}
        self.fingerprint: Fingerprint = frozenset()

    async def observe(self) -> ObservedPod:
        """The pod as the runtime shows it now; raises RuntimeServiceError."""
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_pod_sandboxes(self._uid), self._runtime.list_containers(self._uid)
        )
        self.fingerprint = compute_fingerprint(sandboxes, containers)
        self._forget_gone(sandboxes, containers)
        found_sandboxes, found_containers = await asyncio.gather(
            _gather(self._read_sandbox(sandbox) for sandbox in sandboxes),
            _gather(self._read_container(container) for container in containers),
        )
        return build_observed_pod(found_sandboxes, found_containers)

    async def _read_sandbox(self, sandbox: RuntimeSandbox) -> ObservedSandbox | None:
        if not sandbox.ready:
            return build_observed_sandbox(sandbox, self._ips.get(sandbox.id, ()))
        if not self._ips.get(sandbox.id):
            try:
                self._ips[sandbox.id] = (await self._runtime.read_pod_sandbox_status(sandbox.id)).ips
            except RuntimeNotFound:
                return None
        return build_observed_sandbox(sandbox, self._ips[sandbox.id])

    async def _read_container(self, container: RuntimeContainer) -> ObservedContainer | None:
        known = self._containers.get(container.id)
        if known is not None and known.state is container.state:
            return known
        if container.state is ContainerState.CREATED:
            return build_observed_container(container, None)
        try:
            status = await self._runtime.read_container_status(container.id)
        except RuntimeNotFound:
            return None
        ended = status.state in (ContainerState.EXITED, ContainerState.UNKNOWN)
        message = self._read_message(container.annotations, status) if ended else ""
        observed = build_observed_container(container, status, message)
        self._containers[container.id] = observed
        return observed

    def _forget_gone(
        self, sandboxes: tuple[RuntimeSandbox, ...], containers: tuple[RuntimeContainer, ...]
    ) -> None:
        sandbox_ids = {sandbox.id for sandbox in sandboxes}
        container_ids = {container.id for container in containers}
        self._ips = {key: ips for key, ips in self._ips.items() if key in sandbox_ids}
        self._containers = {key: c for key, c in self._containers.items() if key in container_ids}


async def _gather(reads: Iterable[Awaitable[FoundT | None]]) -> list[FoundT]:
    """All answers but those of objects that vanished meanwhile."""
    return [found for found in await asyncio.gather(*reads) if found is not None]
