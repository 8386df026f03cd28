"""A container runtime in memory with CRI's semantics: `agent.runtime.service.RuntimeService`.

Obeys what the real one does: names are reserved by metadata, states follow from facts and time, stopping and
removing twice is fine, a removed sandbox takes its containers along. Records each call. A script of faults
makes calls fail before or after their effect, or hang. `tests/contract/runtime` holds it against real
containerd.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, ParamSpec, TypeVar

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import (
    RuntimeDeadlineExceeded,
    RuntimeNameReserved,
    RuntimeNotFound,
    RuntimeServiceError,
    RuntimeUnavailable,
)
from agent.runtime.values import (
    ContainerState,
    ExecResult,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeSandbox,
    RuntimeSandboxStatus,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID


class Fault(Enum):
    """What a scripted call does instead of succeeding."""

    REFUSED = "refused"  # an error, and nothing happened
    UNAVAILABLE = "unavailable"  # the connection broke before anything happened
    LOST_ANSWER = "lost answer"  # it happened, but the deadline passed first
    HALF_MADE = "half made"  # the name is taken for good, and nothing ever shows
    HANG = "hang"  # it never returns, and nothing happened


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


@dataclass(slots=True)
class _Container:
    entry: RuntimeContainer
    log_path: str
    program: Program
    started_at: float | None = None
    exit_at: float | None = None
    exit_code: int = 0
    term_at: float | None = None


ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")
Method = Callable[ParametersT, Coroutine[Any, Any, ResultT]]


def goes_on_alone(method: Method[ParametersT, ResultT]) -> Method[ParametersT, ResultT]:
    """A call whose caller dies goes on inside the runtime, as the real one's do."""

    @functools.wraps(method)
    async def call(*args: ParametersT.args, **kwargs: ParametersT.kwargs) -> ResultT:
        work = asyncio.get_running_loop().create_task(method(*args, **kwargs))
        work.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return await asyncio.shield(work)

    return call


@dataclass(frozen=True, slots=True)
class Call:
    rpc: str
    target: str
    at: float


@dataclass(slots=True)
class FakeRuntime:
    """`now` is the clock that states follow; `latency_seconds` pass in each changing call before its effect.

    A list is a picture that is `answer_seconds` old when it arrives.
    """

    now: Callable[[], float]
    latency_seconds: float = 0.0
    answer_seconds: float = 0.0
    programs: dict[str, Program] = field(default_factory=dict)
    images: set[str] | None = None
    calls: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    refused_names: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    on_call: Callable[[str, str], Fault | None] | None = None
    exec_results: dict[tuple[str, ...], ExecResult] = field(default_factory=dict)
    _sandboxes: dict[SandboxID, _Sandbox] = field(default_factory=dict)
    _containers: dict[ContainerID, _Container] = field(default_factory=dict)
    _reserved: Counter[str] = field(default_factory=Counter)
    _next: int = 0

    # --- the script -----------------------------------------------------------------------------------------

    def fail_next(self, rpc: str, *faults: Fault | None) -> None:
        """The next calls of this RPC meet these faults in turn; None is a call that goes well."""
        self.faults.setdefault(rpc, []).extend(faults)

    def kill_container(self, container_id: ContainerID, exit_code: int = 137) -> None:
        """The process dies now."""
        container = self._containers[container_id]
        container.exit_at, container.exit_code = self.now(), exit_code

    def kill_sandbox(self, sandbox_id: SandboxID) -> None:
        """The sandbox's own process dies now, and with it its network; containers go on."""
        sandbox = self._sandboxes[sandbox_id]
        sandbox.entry = replace(sandbox.entry, ready=False)

    def reboot(self) -> None:
        """Everything that ran has ended, and the runtime remembers all of it."""
        for sandbox_id in self._sandboxes:
            self.kill_sandbox(sandbox_id)
        for container in self._containers.values():
            if self._state(container) is ContainerState.RUNNING:
                container.exit_at, container.exit_code = self.now(), 255

    def count(self, rpc: str) -> int:
        return sum(1 for call in self.calls if call.rpc == rpc)

    def live_containers(self) -> list[RuntimeContainer]:
        return [c.entry for c in self._containers.values() if self._state(c) is ContainerState.RUNNING]

    def sandbox_ids(self) -> list[SandboxID]:
        return list(self._sandboxes)

    @property
    def is_empty(self) -> bool:
        return not self._sandboxes and not self._containers

    async def _enter(self, rpc: str, target: str) -> Fault | None:
        """Records the call and meets its fault, unless that comes after the effect."""
        self.calls.append(Call(rpc, target, self.now()))
        script = self.faults.get(rpc)
        fault = script.pop(0) if script else (self.on_call(rpc, target) if self.on_call else None)
        if self.latency_seconds and not rpc.startswith(("List", "Read")):
            await asyncio.sleep(self.latency_seconds)
        match fault:
            case Fault.REFUSED:
                raise RuntimeServiceError(f"{rpc}: scripted refusal")
            case Fault.UNAVAILABLE:
                raise RuntimeUnavailable(f"{rpc}: scripted broken connection")
            case Fault.HANG:
                await asyncio.sleep(120.0)
                raise RuntimeDeadlineExceeded(f"{rpc}: scripted hang")
            case _:
                return fault

    def _leave(self, rpc: str, fault: Fault | None) -> None:
        if fault is Fault.LOST_ANSWER:
            raise RuntimeDeadlineExceeded(f"{rpc}: scripted lost answer")

    def _leave_half_made(self, rpc: str, fault: Fault | None) -> None:
        if fault is Fault.HALF_MADE:
            raise RuntimeDeadlineExceeded(f"{rpc}: scripted stop in the middle")

    def _new_id(self) -> str:
        self._next += 1
        return f"{self._next:064x}"

    # --- lists ----------------------------------------------------------------------------------------------

    async def list_pod_sandboxes(self, uid: PodUID | None = None) -> tuple[RuntimeSandbox, ...]:
        await self._enter("ListPodSandbox", uid or "")
        found = [sandbox.entry for sandbox in self._sandboxes.values()]
        await asyncio.sleep(self.answer_seconds)
        return tuple(entry for entry in found if uid is None or entry.pod_uid == uid)

    async def list_containers(self, uid: PodUID | None = None) -> tuple[RuntimeContainer, ...]:
        await self._enter("ListContainers", uid or "")
        found = [replace(c.entry, state=self._state(c)) for c in self._containers.values()]
        await asyncio.sleep(self.answer_seconds)
        return tuple(entry for entry in found if uid is None or entry.pod_uid == uid)

    async def read_pod_sandbox_status(self, sandbox_id: SandboxID) -> RuntimeSandboxStatus:
        await self._enter("ReadPodSandboxStatus", sandbox_id)
        sandbox = self._find_sandbox(sandbox_id)
        return RuntimeSandboxStatus(
            sandbox_id, sandbox.entry.ready, sandbox.ips if sandbox.entry.ready else ()
        )

    async def read_container_status(self, container_id: ContainerID) -> RuntimeContainerStatus:
        await self._enter("ReadContainerStatus", container_id)
        container = self._find_container(container_id)
        state = self._state(container)
        exited = state is ContainerState.EXITED
        return RuntimeContainerStatus(
            id=container_id,
            state=state,
            started_at=container.started_at,
            finished_at=container.exit_at if exited else None,
            exit_code=container.exit_code if exited else 0,
            reason=self._reason(container) if exited else "",
            message=container.program.start_error,
            image=container.entry.image,
            image_ref=container.entry.image_ref,
            log_path=container.log_path,
        )

    def _reason(self, container: _Container) -> str:
        if container.program.start_error:
            return "StartError"
        return "Completed" if container.exit_code == 0 else "Error"

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

    # --- sandboxes ------------------------------------------------------------------------------------------

    def _reserve(self, name: str) -> None:
        if self._reserved[name]:
            self.refused_names.append(name)
            raise RuntimeNameReserved(f'name "{name}" is reserved for another one')
        self._reserved[name] += 1

    @goes_on_alone
    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> SandboxID:
        meta = config.metadata
        name = f"{meta.name}_{meta.namespace}_{meta.uid}_{meta.attempt}"
        fault = await self._enter("RunPodSandbox", name)
        self._reserve(name)
        self._leave_half_made("RunPodSandbox", fault)
        sandbox_id = SandboxID(self._new_id())
        if any(s.entry.ready and s.entry.pod_uid == meta.uid for s in self._sandboxes.values()):
            self.violations.append(f"a second ready sandbox for {meta.uid}")
        host_network = config.linux.security_context.namespace_options.network == cri.NODE
        entry = RuntimeSandbox(
            id=sandbox_id,
            pod_uid=PodUID(meta.uid),
            pod_name=meta.name,
            pod_namespace=meta.namespace,
            attempt=meta.attempt,
            ready=True,
            created_at=self.now() + self._next * 1e-6,
            labels=dict(config.labels),
            annotations=dict(config.annotations),
        )
        ips = () if host_network else (f"10.1.{self._next // 250}.{self._next % 250 + 1}",)
        self._sandboxes[sandbox_id] = _Sandbox(entry, ips)
        self._leave("RunPodSandbox", fault)
        return sandbox_id

    @goes_on_alone
    async def stop_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        fault = await self._enter("StopPodSandbox", sandbox_id)
        if sandbox_id in self._sandboxes:
            self.kill_sandbox(sandbox_id)
            for container in self._containers.values():
                if container.entry.sandbox_id == sandbox_id:
                    self._end(container, 137)
        self._leave("StopPodSandbox", fault)

    def _end(self, container: _Container, exit_code: int) -> None:
        if self._state(container) is ContainerState.RUNNING:
            container.exit_at, container.exit_code = self.now(), exit_code

    @goes_on_alone
    async def remove_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        fault = await self._enter("RemovePodSandbox", sandbox_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            entry = sandbox.entry
            del self._reserved[f"{entry.pod_name}_{entry.pod_namespace}_{entry.pod_uid}_{entry.attempt}"]
            for container_id, container in tuple(self._containers.items()):
                if container.entry.sandbox_id == sandbox_id:
                    self._drop_container(container_id)
        self._leave("RemovePodSandbox", fault)

    # --- containers -----------------------------------------------------------------------------------------

    @goes_on_alone
    async def create_container(
        self, sandbox_id: SandboxID, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> ContainerID:
        name = self._container_name(config.metadata, sandbox_config.metadata)
        fault = await self._enter("CreateContainer", name)
        sandbox = self._find_sandbox(sandbox_id)
        if not sandbox.entry.ready:
            raise RuntimeServiceError(f"sandbox {sandbox_id} is not ready")
        if self.images is not None and config.image.image not in self.images:
            raise RuntimeNotFound(f"image {config.image.image} not found")
        self._reserve(name)
        self._leave_half_made("CreateContainer", fault)
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
        log_path = f"{sandbox_config.log_directory}/{config.log_path}"
        program = self.programs.get(config.metadata.name, Program())
        self._containers[container_id] = _Container(entry, log_path, program)
        self._leave("CreateContainer", fault)
        return container_id

    def _container_name(self, meta: cri.ContainerMetadata, pod: cri.PodSandboxMetadata) -> str:
        return f"{meta.name}_{pod.name}_{pod.namespace}_{pod.uid}_{meta.attempt}"

    @goes_on_alone
    async def start_container(self, container_id: ContainerID) -> None:
        fault = await self._enter("StartContainer", container_id)
        container = self._find_container(container_id)
        if self._state(container) is not ContainerState.CREATED:
            raise RuntimeServiceError(f"container {container_id} is in {self._state(container).name} state")
        self._check_single(container)
        container.started_at = self.now()
        if container.program.start_error:
            container.started_at, container.exit_at, container.exit_code = None, self.now(), 128
            raise RuntimeServiceError(container.program.start_error)
        if container.program.seconds is not None:
            container.exit_at = self.now() + container.program.seconds
            container.exit_code = container.program.exit_code
        self._leave("StartContainer", fault)

    def _check_single(self, starting: _Container) -> None:
        for other in self.live_containers():
            if (other.pod_uid, other.name) == (starting.entry.pod_uid, starting.entry.name):
                self.violations.append(f"two live containers {other.name} of pod {other.pod_uid}")

    @goes_on_alone
    async def stop_container(self, container_id: ContainerID, timeout_seconds: int) -> None:
        fault = await self._enter("StopContainer", container_id)
        container = self._containers.get(container_id)
        if container is not None and self._state(container) is ContainerState.RUNNING:
            if container.term_at is None:
                container.term_at = self.now()
            await self._wait_for_end(container, timeout_seconds)
        self._leave("StopContainer", fault)

    async def _wait_for_end(self, container: _Container, timeout_seconds: int) -> None:
        """SIGTERM ends it after the program's own time, SIGKILL after the timeout."""
        patience = container.program.term_seconds
        heeds = patience is not None and patience < timeout_seconds
        await asyncio.sleep(patience if heeds and patience is not None else timeout_seconds)
        self._end(container, 143 if heeds else 137)

    @goes_on_alone
    async def remove_container(self, container_id: ContainerID) -> None:
        fault = await self._enter("RemoveContainer", container_id)
        if container_id in self._containers:
            self._end(self._containers[container_id], 137)
            self._drop_container(container_id)
        self._leave("RemoveContainer", fault)

    def _drop_container(self, container_id: ContainerID) -> None:
        container = self._containers.pop(container_id)
        name, uid = container.entry.name, container.entry.pod_uid
        labels: Mapping[str, str] = container.entry.labels
        pod = f"{labels['io.kubernetes.pod.name']}_{labels['io.kubernetes.pod.namespace']}_{uid}"
        del self._reserved[f"{name}_{pod}_{container.entry.attempt}"]

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        await self._enter("ExecSync", " ".join(command))
        if self._state(self._find_container(container_id)) is not ContainerState.RUNNING:
            raise RuntimeServiceError(f"container {container_id} is not running")
        return self.exec_results.get(command, ExecResult(b"", b"", 0))
