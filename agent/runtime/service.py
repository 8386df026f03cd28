"""The port of the container runtime: the CRI calls that run pods, as the lanes make them.

Pure: a protocol. `agent.runtime.client.RuntimeClient` is the real thing, `tests/fakes/fake_runtime.py` the
fake; both pass `tests/contract/runtime`. Calls raise RuntimeServiceError; stopping and removing what isn't
there is success.
"""

from __future__ import annotations

from typing import Protocol

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import (
    ExecResult,
    HandlerFeatures,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeSandbox,
    RuntimeSandboxStatus,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID


class RuntimeService(Protocol):
    async def list_pod_sandboxes(self, uid: PodUID | None = None) -> tuple[RuntimeSandbox, ...]:
        """This node's sandboxes, of one pod or of all."""

    async def list_containers(self, uid: PodUID | None = None) -> tuple[RuntimeContainer, ...]:
        """This node's containers, of one pod or of all."""

    async def read_pod_sandbox_status(self, sandbox_id: SandboxID) -> RuntimeSandboxStatus: ...

    async def read_container_status(self, container_id: ContainerID) -> RuntimeContainerStatus: ...

    async def read_container_pid(self, container_id: ContainerID) -> int | None:
        """The container's first process as this host numbers it; None where the runtime doesn't tell."""

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> SandboxID:
        """Creates and starts the sandbox with its network; its name is metadata's four fields."""

    async def stop_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        """Kills what runs in it and takes down its network. Idempotent."""

    async def remove_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        """Removes it with its containers. Idempotent."""

    async def create_container(
        self, sandbox_id: SandboxID, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> ContainerID: ...

    async def start_container(self, container_id: ContainerID) -> None: ...

    async def stop_container(self, container_id: ContainerID, timeout_seconds: int) -> None:
        """The stop signal, then SIGKILL after the timeout; returns when it has exited. Idempotent."""

    async def remove_container(self, container_id: ContainerID) -> None:
        """Idempotent."""

    async def update_container_resources(
        self, container_id: ContainerID, resources: cri.LinuxContainerResources
    ) -> None:
        """Changes what a running container may use; 0 in a field leaves that as it is. Idempotent."""

    async def read_memory_usage(self, container_id: ContainerID) -> int | None:
        """Bytes that the container's cgroup holds now; None where the runtime can't tell."""

    async def read_handler_features(self, handler: str) -> HandlerFeatures:
        """What pods of this handler may ask for beyond the minimum; "" is the default handler."""

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult: ...
