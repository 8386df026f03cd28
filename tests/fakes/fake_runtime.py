"""A container runtime in memory with CRI's semantics: `agent.runtime.service.RuntimeService`.

Obeys what the real one does: names are reserved by metadata, states follow from facts and time, stopping and
removing twice is fine, a removed sandbox takes its containers along. What happens to a call and its caller is
in `runtime_calls`. `tests/contract/runtime` holds it against real containerd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import (
    RuntimeDeadlineExceeded,
    RuntimeNotFound,
    RuntimeServiceError,
)
from agent.runtime.values import (
    ContainerState,
    ExecResult,
    HandlerFeatures,
    LinuxResources,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeSandbox,
    RuntimeSandboxStatus,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID
from tests.fakes.runtime_calls import ResultT, RuntimeCalls
from tests.fakes.runtime_faults import Abandoned, Fault

__all__ = ["Abandoned", "FakeRuntime", "Fault", "Program"]

# The agent's own deadlines; `agent.runtime.client` has them for the real thing.
_READ_SECONDS = 10.0
_CHANGE_SECONDS = 120.0
_SANDBOX_SECONDS = 240.0
_STOP_SLACK_SECONDS = 30.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does: runs for `seconds` (None: for ever) and exits; `term_seconds` None ignores
    SIGTERM.
    """

    seconds: float | None = None
    exit_code: int = 0
    term_seconds: float | None = 0.0
    start_error: str = ""


@dataclass(slots=True)
class _Sandbox:
    entry: RuntimeSandbox
    ips: tuple[str, ...]
    name: str


@dataclass(slots=True)
class _Container:
    entry: RuntimeContainer
    name: str
    log_path: str
    program: Program
    started_at: float | None = None
    exit_at: float | None = None
    exit_code: int = 0
    error: str = ""
    resources: cri.LinuxContainerResources = field(default_factory=cri.LinuxContainerResources)
    start: asyncio.Task[Any] | None = None  # the StartContainer under way


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL that the runtime sent because it was asked to."""

    pod_uid: PodUID
    container: str
    started_at: float
    asked_at: float
    at: float


@dataclass(slots=True)
class FakeRuntime(RuntimeCalls):
    """A list is a picture that is `answer_seconds` old when it arrives."""

    answer_seconds: float = 0.0
    creates_in_stopped: bool = False  # as containerd 2.1 does; nothing in there can be started
    programs: dict[str, Program] = field(default_factory=dict)
    images: set[str] | None = None
    kills: list[Kill] = field(default_factory=list)
    exec_results: dict[tuple[str, ...], ExecResult] = field(default_factory=dict)
    memory_usage: dict[ContainerID, int] = field(default_factory=dict)
    default_memory_usage: int | None = 1 << 20
    exec_seconds: float = 0.0
    handler_features: dict[str, HandlerFeatures] = field(default_factory=dict)
    _sandboxes: dict[SandboxID, _Sandbox] = field(default_factory=dict)
    _containers: dict[ContainerID, _Container] = field(default_factory=dict)

    # --- the script -----------------------------------------------------------------------------------------

    def kill_container(self, container_id: ContainerID, exit_code: int = 137) -> None:
        """The process dies now."""
        self._end(self._containers[container_id], exit_code)

    def kill_sandbox(self, sandbox_id: SandboxID) -> None:
        """The sandbox's own process dies now, and with it its network; containers go on."""
        sandbox = self._sandboxes[sandbox_id]
        sandbox.entry = replace(sandbox.entry, ready=False)

    def reboot(self) -> None:
        """Everything that ran has ended, and the runtime remembers all of it that was finished."""
        for work in tuple(self._works):
            work.cancel()
        for sandbox_id in self._sandboxes:
            self.kill_sandbox(sandbox_id)
        for container in self._containers.values():
            self._end(container, 255)

    def live_containers(self) -> list[RuntimeContainer]:
        return [c.entry for c in self._containers.values() if self._state(c) is ContainerState.RUNNING]

    def find_owner(self, target: str) -> str:
        """The uid of the pod whose sandbox or container has this id; empty for anything else."""
        if (sandbox := self._sandboxes.get(SandboxID(target))) is not None:
            return sandbox.entry.pod_uid
        container = self._containers.get(ContainerID(target))
        return container.entry.pod_uid if container is not None else ""

    def sandbox_ids(self) -> list[SandboxID]:
        return list(self._sandboxes)

    @property
    def is_empty(self) -> bool:
        return not self._sandboxes and not self._containers

    # --- lists ----------------------------------------------------------------------------------------------

    async def _list(self, rpc: str, uid: PodUID | None, read: Callable[[], list[ResultT]]) -> list[ResultT]:
        async def work(_fault: Fault | None) -> list[ResultT]:
            found = read()
            await asyncio.sleep(self.answer_seconds)
            return found

        return await self._serve(rpc, uid or "", work, _READ_SECONDS)

    async def list_pod_sandboxes(self, uid: PodUID | None = None) -> tuple[RuntimeSandbox, ...]:
        def read() -> list[RuntimeSandbox]:
            return [s.entry for s in self._sandboxes.values() if not self._is_hidden(s.entry.id)]

        found = await self._list("ListPodSandbox", uid, read)
        return tuple(entry for entry in found if uid is None or entry.pod_uid == uid)

    async def list_containers(self, uid: PodUID | None = None) -> tuple[RuntimeContainer, ...]:
        def read() -> list[RuntimeContainer]:
            shown = [c for c in self._containers.values() if not self._is_hidden(c.entry.id)]
            return [replace(c.entry, state=self._state(c)) for c in shown]

        found = await self._list("ListContainers", uid, read)
        return tuple(entry for entry in found if uid is None or entry.pod_uid == uid)

    async def read_pod_sandbox_status(self, sandbox_id: SandboxID) -> RuntimeSandboxStatus:
        async def work(_fault: Fault | None) -> RuntimeSandboxStatus:
            sandbox = self._find_sandbox(sandbox_id)
            ready = sandbox.entry.ready
            return RuntimeSandboxStatus(sandbox_id, ready, sandbox.ips if ready else ())

        return await self._serve("ReadPodSandboxStatus", sandbox_id, work, _READ_SECONDS)

    async def read_container_status(self, container_id: ContainerID) -> RuntimeContainerStatus:
        async def work(_fault: Fault | None) -> RuntimeContainerStatus:
            return self._describe(self._find_container(container_id))

        return await self._serve("ReadContainerStatus", container_id, work, _READ_SECONDS)

    async def read_container_pid(self, container_id: ContainerID) -> int | None:
        """A program here is no process."""
        return None

    def _describe(self, container: _Container) -> RuntimeContainerStatus:
        state = self._state(container)
        exited = state is ContainerState.EXITED
        return RuntimeContainerStatus(
            id=container.entry.id,
            state=state,
            started_at=container.started_at,
            finished_at=container.exit_at if exited else None,
            exit_code=container.exit_code if exited else 0,
            reason=_choose_reason(container) if exited else "",
            message=container.error,
            image=container.entry.image,
            image_ref=container.entry.image_ref,
            log_path=container.log_path,
            resources=_describe_resources(container.resources),
        )

    def _state(self, container: _Container) -> ContainerState:
        if container.started_at is None and container.exit_at is None:
            return ContainerState.CREATED
        ended = container.exit_at is not None and container.exit_at <= self.now()
        return ContainerState.EXITED if ended else ContainerState.RUNNING

    def _find_sandbox(self, sandbox_id: SandboxID) -> _Sandbox:
        if sandbox_id not in self._sandboxes:
            raise RuntimeNotFound(f"sandbox {sandbox_id} not found")
        return self._sandboxes[sandbox_id]

    def _find_container(self, container_id: ContainerID) -> _Container:
        if container_id not in self._containers:
            raise RuntimeNotFound(f"container {container_id} not found")
        return self._containers[container_id]

    def _discard(self, id_: str) -> None:
        self._sandboxes.pop(SandboxID(id_), None)
        self._containers.pop(ContainerID(id_), None)

    # --- sandboxes ------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> SandboxID:
        meta = config.metadata
        name = f"{meta.name}_{meta.namespace}_{meta.uid}_{meta.attempt}"

        async def work(fault: Fault | None) -> SandboxID:
            if (claimed := await self._claim(name)) is not None:
                return SandboxID(claimed)
            self._reserve(name)
            if self._shows_ready(PodUID(meta.uid)):
                self.violations.append(f"a second sandbox for {meta.uid}, which has one that is ready")
            self._check_attempt(f"{meta.uid}/", meta.attempt)
            try:
                await self._pass(fault)
            except asyncio.CancelledError:
                await self._roll_back(name)
                raise
            return self._make_sandbox(config, name, fault)

        return await self._serve("RunPodSandbox", name, work, _SANDBOX_SECONDS)

    def _shows_ready(self, uid: PodUID) -> bool:
        """Whether a look of a moment ago had to see a sandbox that works."""
        mine = (s.entry for s in self._sandboxes.values() if s.entry.pod_uid == uid)
        return any(entry.ready and entry.created_at < self.now() - _LOOK_SECONDS for entry in mine)

    def _make_sandbox(self, config: cri.PodSandboxConfig, name: str, fault: Fault | None) -> SandboxID:
        if fault is Fault.HALF_MADE:
            raise RuntimeDeadlineExceeded("RunPodSandbox: scripted stop in the middle")
        meta = config.metadata
        sandbox_id = SandboxID(self._new_id())
        entry = RuntimeSandbox(
            id=sandbox_id,
            pod_uid=PodUID(meta.uid),
            pod_name=meta.name,
            pod_namespace=meta.namespace,
            attempt=meta.attempt,
            ready=fault is not Fault.HALF_NETWORK,
            created_at=self.now() + self._next * 1e-6,
            labels=dict(config.labels),
            annotations=dict(config.annotations),
        )
        host_network = config.linux.security_context.namespace_options.network == cri.NODE
        ips = () if host_network else (f"10.1.{self._next // 250}.{self._next % 250 + 1}",)
        self._sandboxes[sandbox_id] = _Sandbox(entry, ips, name)
        self._note_made(name, sandbox_id)
        if fault is Fault.HALF_NETWORK:
            raise RuntimeServiceError("RunPodSandbox: scripted failure of the network, which can't be undone")
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        asked_at = self.now()

        async def work(fault: Fault | None) -> None:
            await self._pass(fault)
            if sandbox_id not in self._sandboxes:
                return
            self.kill_sandbox(sandbox_id)
            for container in self._containers.values():
                if container.entry.sandbox_id == sandbox_id:
                    self._kill(container, asked_at)

        await self._serve("StopPodSandbox", sandbox_id, work, _CHANGE_SECONDS)

    def _end(self, container: _Container, exit_code: int) -> None:
        if self._state(container) is ContainerState.RUNNING:
            container.exit_at, container.exit_code = self.now(), exit_code

    def _kill(self, container: _Container, asked_at: float) -> None:
        if self._state(container) is ContainerState.RUNNING:
            entry = container.entry
            started_at = container.started_at or 0.0
            self.kills.append(Kill(entry.pod_uid, entry.name, started_at, asked_at, self.now()))
            self._end(container, 137)

    async def remove_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        asked_at = self.now()

        async def work(fault: Fault | None) -> None:
            await self._pass(fault)
            if (sandbox := self._sandboxes.get(sandbox_id)) is None:
                return
            self.kill_sandbox(sandbox_id)
            for container in tuple(self._containers.values()):
                if container.entry.sandbox_id == sandbox_id:
                    self._drop_container(container, asked_at)
            del self._sandboxes[sandbox_id]
            self._reserved.pop(sandbox.name, None)
            if not any(other.entry.pod_uid == sandbox.entry.pod_uid for other in self._sandboxes.values()):
                self._forget_attempts(sandbox.entry.pod_uid)

        await self._serve("RemovePodSandbox", sandbox_id, work, _CHANGE_SECONDS)

    # --- containers -----------------------------------------------------------------------------------------

    async def create_container(
        self, sandbox_id: SandboxID, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> ContainerID:
        meta, pod = config.metadata, sandbox_config.metadata
        name = f"{meta.name}_{pod.name}_{pod.namespace}_{pod.uid}_{meta.attempt}"

        async def work(fault: Fault | None) -> ContainerID:
            if (claimed := await self._claim(name)) is not None:
                return ContainerID(claimed)
            if not self._find_sandbox(sandbox_id).entry.ready and not self.creates_in_stopped:
                raise RuntimeServiceError(f"sandbox {sandbox_id} is not ready")
            if self.images is not None and config.image.image not in self.images:
                raise RuntimeNotFound(f"image {config.image.image} not found")
            self._reserve(name)
            self._check_attempt(f"{pod.uid}/{meta.name}", meta.attempt)
            try:
                await self._pass(fault)
            except asyncio.CancelledError:
                await self._roll_back(name)
                raise
            if fault is Fault.HALF_MADE:
                raise RuntimeDeadlineExceeded("CreateContainer: scripted stop in the middle")
            return self._make_container(sandbox_id, config, sandbox_config, name)

        return await self._serve("CreateContainer", name, work, _CHANGE_SECONDS)

    def _make_container(
        self, sandbox_id: SandboxID, config: cri.ContainerConfig, pod: cri.PodSandboxConfig, name: str
    ) -> ContainerID:
        container_id = ContainerID(self._new_id())
        entry = RuntimeContainer(
            id=container_id,
            sandbox_id=sandbox_id,
            name=config.metadata.name,
            attempt=config.metadata.attempt,
            state=ContainerState.CREATED,
            created_at=self.now() + self._next * 1e-6,
            image=config.image.user_specified_image,
            image_ref=config.image.image,
            labels=dict(config.labels),
            annotations=dict(config.annotations),
        )
        program = self.programs.get(config.metadata.name, Program())
        log_path = f"{pod.log_directory}/{config.log_path}"
        made = _Container(entry, name, log_path, program)
        made.resources.CopyFrom(config.linux.resources)
        self._containers[container_id] = made
        self._note_made(name, container_id)
        return container_id

    async def start_container(self, container_id: ContainerID) -> None:
        async def work(fault: Fault | None) -> None:
            container = self._find_container(container_id)
            if self._state(container) is not ContainerState.CREATED:
                raise RuntimeServiceError(
                    f"container {container_id} is in {self._state(container).name} state"
                )
            if container.start is not None:
                raise RuntimeServiceError(f"container {container_id} is already in starting state")
            sandbox = self._sandboxes.get(container.entry.sandbox_id)
            if sandbox is None or not sandbox.entry.ready:
                raise RuntimeServiceError(f"the sandbox of container {container_id} is not running")
            container.start = asyncio.current_task()
            try:
                await self._pass(fault)
                self._run(container)
            except asyncio.CancelledError:
                self._fail_start(container, "failed to create containerd task: context canceled")
                raise
            finally:
                container.start = None

        await self._serve("StartContainer", container_id, work, _CHANGE_SECONDS)

    def _run(self, container: _Container) -> None:
        self._check_single(container)
        program = container.program
        if program.start_error:
            self._fail_start(container, program.start_error)
            raise RuntimeServiceError(program.start_error)
        container.started_at = self.now()
        if program.seconds is not None:
            container.exit_at = self.now() + program.seconds
            container.exit_code = program.exit_code

    def _fail_start(self, container: _Container, error: str) -> None:
        container.exit_at, container.exit_code, container.error = self.now(), 128, error

    def _check_single(self, starting: _Container) -> None:
        for other in self.live_containers():
            if (other.pod_uid, other.name) == (starting.entry.pod_uid, starting.entry.name):
                self.violations.append(f"two live containers {other.name} of pod {other.pod_uid}")

    async def stop_container(self, container_id: ContainerID, timeout_seconds: int) -> None:
        asked_at = self.now()

        async def work(fault: Fault | None) -> None:
            await self._pass(fault)
            container = self._containers.get(container_id)
            if container is None or self._state(container) is not ContainerState.RUNNING:
                return
            patience = container.program.term_seconds
            if timeout_seconds and patience is not None:
                self._exit_by(container, self.now() + patience, 143)
            await self._wait_for_exit(container, timeout_seconds)
            self._kill(container, asked_at)

        await self._serve("StopContainer", container_id, work, timeout_seconds + _STOP_SLACK_SECONDS)

    def _exit_by(self, container: _Container, at: float, exit_code: int) -> None:
        if container.exit_at is None or container.exit_at > at:
            container.exit_at, container.exit_code = at, exit_code

    async def _wait_for_exit(self, container: _Container, seconds: float) -> None:
        until = self.now() + seconds
        if container.exit_at is not None:
            until = min(until, container.exit_at)
        await asyncio.sleep(max(0.0, until - self.now()))

    async def remove_container(self, container_id: ContainerID) -> None:
        asked_at = self.now()

        async def work(fault: Fault | None) -> None:
            await self._pass(fault)
            if (container := self._containers.get(container_id)) is not None:
                self._drop_container(container, asked_at)

        await self._serve("RemoveContainer", container_id, work, _CHANGE_SECONDS)

    def _drop_container(self, container: _Container, asked_at: float) -> None:
        if container.start is not None:
            raise RuntimeServiceError(
                f"container {container.entry.id} is in starting state, can't be removed"
            )
        self._kill(container, asked_at)
        del self._containers[container.entry.id]
        self._reserved.pop(container.name, None)

    async def update_container_resources(
        self, container_id: ContainerID, resources: cri.LinuxContainerResources
    ) -> None:
        async def work(fault: Fault | None) -> None:
            await self._pass(fault)
            container = self._find_container(container_id)
            if self._state(container) is not ContainerState.RUNNING:
                raise RuntimeServiceError(f"container {container_id} is not running")
            for number, value in resources.ListFields():
                setattr(container.resources, number.name, value)

        await self._serve("UpdateContainerResources", container_id, work, _CHANGE_SECONDS)

    async def read_memory_usage(self, container_id: ContainerID) -> int | None:
        async def work(_fault: Fault | None) -> int | None:
            self._find_container(container_id)
            return self.memory_usage.get(container_id, self.default_memory_usage)

        return await self._serve("ReadMemoryUsage", container_id, work, _READ_SECONDS)

    def resources(self, container_id: ContainerID) -> cri.LinuxContainerResources:
        """What the container may use now."""
        return self._containers[container_id].resources

    async def read_handler_features(self, handler: str) -> HandlerFeatures:
        return self.handler_features.get(handler, HandlerFeatures())

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        async def work(fault: Fault | None) -> ExecResult:
            if self._state(self._find_container(container_id)) is not ContainerState.RUNNING:
                raise RuntimeServiceError(f"container {container_id} is not running")
            await asyncio.sleep(self.slow_seconds() if fault is Fault.SLOW else self.exec_seconds)
            return self.exec_results.get(command, ExecResult(b"", b"", 0))

        return await self._serve("ExecSync", " ".join(command), work, timeout_seconds)


def _describe_resources(resources: cri.LinuxContainerResources) -> LinuxResources:
    return LinuxResources(
        cpu_period=resources.cpu_period,
        cpu_quota=resources.cpu_quota,
        cpu_shares=resources.cpu_shares,
        memory_limit_bytes=resources.memory_limit_in_bytes,
    )


def _choose_reason(container: _Container) -> str:
    if container.error:
        return "StartError"
    return "Completed" if container.exit_code == 0 else "Error"
