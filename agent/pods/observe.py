"""Reads one pod from the runtime: two lists and the statuses that changed since the last look, or, after an
answer that says what changed, only the status of that.

IO through the runtime port. One observer for each lane; what it remembers (addresses of sandboxes, statuses
of exited containers) can't change any more and may be forgotten at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar, assert_never

from agent.pods.observed import (
    ObservedContainer,
    ObservedPod,
    ObservedSandbox,
    add_sandbox,
    add_started,
    build_observed_container,
    build_observed_pod,
    build_observed_sandbox,
    build_started,
)
from agent.pods.outcomes import ContainerStarted, SandboxMade
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import RuntimeDeadlineExceeded, RuntimeNotFound
from agent.runtime.relist import Fingerprint, compute_fingerprint
from agent.runtime.service import RuntimeService
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeContainerStatus, RuntimeSandbox
from kubeapi.pod import PodUID

_GIVE_UP_SECONDS: Final = 30.0

FoundT = TypeVar("FoundT")

Answer: TypeAlias = SandboxMade | ContainerStarted
"""Of a call that changed the pod in the one way that it says."""

ReadMessage = Callable[[Mapping[str, str], RuntimeContainerStatus], str]


class PodObserver:
    """`read_message` answers what an exited container left as its termination message."""

    def __init__(self, runtime: RuntimeService, uid: PodUID, read_message: ReadMessage) -> None:
        self._runtime = runtime
        self._uid = uid
        self._read_message = read_message
        self._ips: dict[SandboxID, tuple[str, ...]] = {}
        self._containers: dict[ContainerID, ObservedContainer] = {}
        self._ask_again_at: dict[str, float] = {}  # on the event loop's clock
        self._in_flight: dict[str, None] = {}
        self.fingerprint: Fingerprint = frozenset()
        self.trouble = ""
        """Which statuses the last look did without, as the runtime didn't answer; empty when it had all."""

    async def observe(self, *, ending: bool = False) -> ObservedPod:
        """The pod as the runtime shows it now; raises RuntimeServiceError.

        A status that the runtime doesn't answer is done without where the lists say enough: of a container
        that runs, and of anything once the pod is `ending`.
        """
        self.trouble = ""
        sandboxes, containers = await asyncio.gather(
            self._call("ListPodSandbox", lambda: self._runtime.list_pod_sandboxes(self._uid)),
            self._call("ListContainers", lambda: self._runtime.list_containers(self._uid)),
        )
        self.fingerprint = compute_fingerprint(sandboxes, containers)
        self._forget_gone(sandboxes, containers)
        found_sandboxes, found_containers = await asyncio.gather(
            _gather(self._find_sandbox(sandbox, ending) for sandbox in sandboxes),
            _gather(self._find_container(container, ending) for container in containers),
        )
        return build_observed_pod(found_sandboxes, found_containers)

    async def catch_up(self, observed: ObservedPod, answers: Iterable[Answer]) -> ObservedPod | None:
        """The pod after these answers, at the price of one status each; None when more has happened than they
        say, so that only `observe` tells. Raises RuntimeServiceError.
        """
        found: ObservedPod | None = observed
        try:
            for answer in answers:
                if found is None:
                    break
                match answer:
                    case SandboxMade():
                        found = await self._add_made(found, answer)
                    case ContainerStarted():
                        found = await self._add_started(found, answer.container_id)
                    case _:
                        assert_never(answer)
        except RuntimeNotFound:
            return None
        return found

    async def _add_made(self, observed: ObservedPod, made: SandboxMade) -> ObservedPod | None:
        name = f"PodSandboxStatus of attempt {made.attempt}"
        status = await self._call(name, lambda: self._runtime.read_pod_sandbox_status(made.sandbox_id))
        if not status.ready:
            return None
        self._ips[status.id] = status.ips
        self.fingerprint |= compute_fingerprint((status,), ())
        sandbox = ObservedSandbox(status.id, made.attempt, True, status.created_at, status.ips)
        return add_sandbox(observed, sandbox)

    async def _add_started(self, observed: ObservedPod, container_id: ContainerID) -> ObservedPod | None:
        created = next((c for c in observed.containers if c.id == container_id), None)
        if created is None:
            return None
        name = f"ContainerStatus of container {created.name}, attempt {created.attempt}"
        status = await self._call(name, lambda: self._runtime.read_container_status(container_id))
        if status.state is not ContainerState.RUNNING:
            return None
        started = self._containers[container_id] = build_started(created, status)
        self.fingerprint -= compute_fingerprint((), (created,))
        self.fingerprint |= compute_fingerprint((), (started,))
        return add_started(observed, started)

    def note_created(self, container: ObservedContainer) -> None:
        """The runtime's lists show this container from now on."""
        self.fingerprint |= compute_fingerprint((), (container,))

    def describe_hanging(self) -> str:
        """The calls that the runtime owes an answer to, now or since the last look."""
        return ", ".join(self._in_flight) or self.trouble or "reading the pod"

    async def _call(self, name: str, call: Callable[[], Awaitable[FoundT]]) -> FoundT:
        self._in_flight[name] = None
        try:
            return await call()
        finally:
            self._in_flight.pop(name, None)

    async def _find_sandbox(self, sandbox: RuntimeSandbox, ending: bool) -> ObservedSandbox | None:
        name = f"PodSandboxStatus of attempt {sandbox.attempt}"
        if not (ending and self._is_given_up(name)):
            try:
                return await self._call(name, lambda: self._read_sandbox(sandbox))
            except RuntimeDeadlineExceeded:
                if not ending:
                    raise
                self._give_up(name)
        self.trouble = name
        return build_observed_sandbox(sandbox, self._ips.get(sandbox.id, ()))

    async def _find_container(self, container: RuntimeContainer, ending: bool) -> ObservedContainer | None:
        name = f"ContainerStatus of container {container.name}, attempt {container.attempt}"
        enough = ending or container.state is ContainerState.RUNNING
        if not (enough and self._is_given_up(name)):
            try:
                return await self._call(name, lambda: self._read_container(container))
            except RuntimeDeadlineExceeded:
                if not enough:
                    raise
                self._give_up(name)
        self.trouble = name
        return _guess_container(container)

    def _is_given_up(self, name: str) -> bool:
        return asyncio.get_running_loop().time() < self._ask_again_at.get(name, 0.0)

    def _give_up(self, name: str) -> None:
        """For a while: a lane that asks at every look would do little else."""
        self._ask_again_at[name] = asyncio.get_running_loop().time() + _GIVE_UP_SECONDS

    def forget(self, container_id: ContainerID) -> None:
        """What is known of the container may have changed without its state."""
        self._containers.pop(container_id, None)

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


def _guess_container(container: RuntimeContainer) -> ObservedContainer:
    """As the list has it; of an exit nobody knows the code, which the kubelet calls 137."""
    found = build_observed_container(container, None)
    if container.state is not ContainerState.EXITED:
        return found
    message = "The container could not be located when the pod was terminated"
    return replace(found, exit_code=137, reason="ContainerStatusUnknown", message=message)


async def _gather(reads: Iterable[Awaitable[FoundT | None]]) -> list[FoundT]:
    """All answers but those of objects that vanished meanwhile."""
    return [found for found in await asyncio.gather(*reads) if found is not None]
