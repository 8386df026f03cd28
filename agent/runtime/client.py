"""The CRI client: one method per RPC, a deadline on each, gRPC errors as ours.

A thin shell on grpc.aio; decides nothing. Called by the pod lanes, the images, the probes, the node status
and the server. gRPC reconnects by itself when the runtime restarts. Follows CRI v1 and gRPC core's channel
arguments.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar

import grpc
import grpc.aio

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime import decode
from agent.runtime.errors import RuntimeNotFound, RuntimeServiceError, RuntimeUnavailable, build_error
from agent.runtime.values import (
    NODE_LABEL,
    POD_UID_LABEL,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    HandlerFeatures,
    RegistryCredentials,
    RuntimeCondition,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeFeatures,
    RuntimeImage,
    RuntimeSandbox,
    RuntimeSandboxStatus,
    RuntimeVersion,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from cri_proto.runtime.v1 import api_pb2_grpc as cri_grpc
from kubeapi.pod import PodUID

_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)
_READ_SECONDS: Final = 10.0
_CHANGE_SECONDS: Final = 120.0  # upstream's runtimeRequestTimeout
_SANDBOX_SECONDS: Final = 240.0  # CNI plugins may be slow; upstream doubles the timeout for RunPodSandbox too
_PULL_SECONDS: Final = 3600.0
_STOP_SLACK_SECONDS: Final = 30.0
_EXEC_SLACK_SECONDS: Final = 5.0

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class RuntimeClient:
    """Implements `RuntimeService` and the image calls; `async with` closes the channel."""

    def __init__(self, endpoint: str, *, node_name: str) -> None:
        self._endpoint = endpoint
        self._node_name = node_name
        self._channel = grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        self._runtime = cri_grpc.RuntimeServiceStub(self._channel)
        self._images = cri_grpc.ImageServiceStub(self._channel)

    async def __aenter__(self) -> RuntimeClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._channel.close()

    async def _call(
        self,
        rpc: Callable[..., grpc.aio.UnaryUnaryCall[RequestT, ResponseT]],
        request: RequestT,
        seconds: float,
    ) -> ResponseT:
        name = type(request).__name__.removesuffix("Request")
        try:
            return await rpc(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise build_error(name, self._endpoint, error.code(), error.details() or "") from error

    # --- the runtime itself -----------------------------------------------------------------------------

    async def check_answers(self, seconds: float = 5.0) -> RuntimeVersion:
        """The runtime's version; raises RuntimeUnavailable with a sentence saying what to do."""
        path = self._endpoint.removeprefix("unix://")
        if not self._endpoint.startswith("unix:///"):
            raise RuntimeUnavailable(
                f"the container runtime's endpoint {self._endpoint!r} is no socket; write it like "
                "unix:///run/containerd/containerd.sock"
            )
        if not Path(path).exists():  # noqa: ASYNC240 - one stat at start
            raise RuntimeUnavailable(
                f"no container runtime at {self._endpoint}: {path} doesn't exist; start containerd, or "
                "name its socket with --container-runtime-endpoint"
            )
        try:
            return await self.read_version(seconds)
        except RuntimeServiceError as error:
            raise RuntimeUnavailable(
                f"the container runtime at {self._endpoint} doesn't speak CRI v1 ({error}); check that "
                "it is running and that its CRI plugin is enabled"
            ) from error

    async def read_version(self, seconds: float = _READ_SECONDS) -> RuntimeVersion:
        response = await self._call(self._runtime.Version, cri.VersionRequest(), seconds)
        return RuntimeVersion(response.runtime_name, response.runtime_version, response.runtime_api_version)

    async def read_conditions(self) -> tuple[RuntimeCondition, ...]:
        response = await self._call(self._runtime.Status, cri.StatusRequest(), _READ_SECONDS)
        return tuple(
            RuntimeCondition(condition.type, condition.status, condition.reason, condition.message)
            for condition in response.status.conditions
        )

    async def read_handler_features(self, handler: str) -> HandlerFeatures:
        return (await self.read_features()).of(handler)

    async def read_features(self) -> RuntimeFeatures:
        """What the runtime can do beyond the minimum."""
        return decode.decode_features(
            await self._call(self._runtime.Status, cri.StatusRequest(), _READ_SECONDS)
        )

    async def update_runtime_config(self, pod_cidr: str) -> None:
        network = cri.NetworkConfig(pod_cidr=pod_cidr)
        request = cri.UpdateRuntimeConfigRequest(runtime_config=cri.RuntimeConfig(network_config=network))
        await self._call(self._runtime.UpdateRuntimeConfig, request, _READ_SECONDS)

    async def watch_container_events(self) -> AsyncIterator[PodUID]:
        """The pod of each container event; RuntimeUnimplemented where the runtime has none, as containerd
        1.6.
        """
        call = self._runtime.GetContainerEvents(cri.GetEventsRequest())
        try:
            async for event in call:
                yield PodUID(event.pod_sandbox_status.metadata.uid)
        except grpc.aio.AioRpcError as error:
            raise build_error(
                "GetContainerEvents", self._endpoint, error.code(), error.details() or ""
            ) from error

    # --- sandboxes --------------------------------------------------------------------------------------

    def _selector(self, uid: PodUID | None) -> dict[str, str]:
        selector = {NODE_LABEL: self._node_name}
        if uid is not None:
            selector[POD_UID_LABEL] = uid
        return selector

    async def list_pod_sandboxes(self, uid: PodUID | None = None) -> tuple[RuntimeSandbox, ...]:
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=self._selector(uid)))
        response = await self._call(self._runtime.ListPodSandbox, request, _READ_SECONDS)
        return tuple(map(decode.decode_sandbox, response.items))

    async def read_pod_sandbox_status(self, sandbox_id: SandboxID) -> RuntimeSandboxStatus:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        response = await self._call(self._runtime.PodSandboxStatus, request, _READ_SECONDS)
        return decode.decode_sandbox_status(response.status)

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> SandboxID:
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=runtime_handler)
        response = await self._call(self._runtime.RunPodSandbox, request, _SANDBOX_SECONDS)
        return SandboxID(response.pod_sandbox_id)

    async def stop_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call_removal(self._runtime.StopPodSandbox, request, _CHANGE_SECONDS)

    async def remove_pod_sandbox(self, sandbox_id: SandboxID) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call_removal(self._runtime.RemovePodSandbox, request, _CHANGE_SECONDS)

    async def _call_removal(
        self,
        rpc: Callable[..., grpc.aio.UnaryUnaryCall[RequestT, ResponseT]],
        request: RequestT,
        seconds: float,
    ) -> None:
        try:
            await self._call(rpc, request, seconds)
        except RuntimeNotFound:
            return

    # --- containers -------------------------------------------------------------------------------------

    async def list_containers(self, uid: PodUID | None = None) -> tuple[RuntimeContainer, ...]:
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(label_selector=self._selector(uid)))
        response = await self._call(self._runtime.ListContainers, request, _READ_SECONDS)
        return tuple(map(decode.decode_container, response.containers))

    async def read_container_status(self, container_id: ContainerID) -> RuntimeContainerStatus:
        request = cri.ContainerStatusRequest(container_id=container_id)
        response = await self._call(self._runtime.ContainerStatus, request, _READ_SECONDS)
        return decode.decode_container_status(response.status)

    async def read_container_pid(self, container_id: ContainerID) -> int | None:
        request = cri.ContainerStatusRequest(container_id=container_id, verbose=True)
        response = await self._call(self._runtime.ContainerStatus, request, _READ_SECONDS)
        return decode.decode_pid(response.info)

    async def create_container(
        self, sandbox_id: SandboxID, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> ContainerID:
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config
        )
        response = await self._call(self._runtime.CreateContainer, request, _CHANGE_SECONDS)
        return ContainerID(response.container_id)

    async def start_container(self, container_id: ContainerID) -> None:
        request = cri.StartContainerRequest(container_id=container_id)
        await self._call(self._runtime.StartContainer, request, _CHANGE_SECONDS)

    async def stop_container(self, container_id: ContainerID, timeout_seconds: int) -> None:
        request = cri.StopContainerRequest(container_id=container_id, timeout=timeout_seconds)
        await self._call_removal(self._runtime.StopContainer, request, timeout_seconds + _STOP_SLACK_SECONDS)

    async def remove_container(self, container_id: ContainerID) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._call_removal(self._runtime.RemoveContainer, request, _CHANGE_SECONDS)

    async def update_container_resources(
        self, container_id: ContainerID, resources: cri.LinuxContainerResources
    ) -> None:
        request = cri.UpdateContainerResourcesRequest(container_id=container_id, linux=resources)
        await self._call(self._runtime.UpdateContainerResources, request, _CHANGE_SECONDS)

    async def read_memory_usage(self, container_id: ContainerID) -> int | None:
        request = cri.ContainerStatsRequest(container_id=container_id)
        response = await self._call(self._runtime.ContainerStats, request, _READ_SECONDS)
        memory = response.stats.memory
        used = memory.usage_bytes if memory.HasField("usage_bytes") else memory.working_set_bytes
        return used.value or None

    async def reopen_container_log(self, container_id: ContainerID) -> None:
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._call(self._runtime.ReopenContainerLog, request, _READ_SECONDS)

    async def list_container_usage(self) -> tuple[ContainerUsage, ...]:
        stats_filter = cri.ContainerStatsFilter(label_selector=self._selector(None))
        request = cri.ListContainerStatsRequest(filter=stats_filter)
        response = await self._call(self._runtime.ListContainerStats, request, _READ_SECONDS)
        return tuple(map(decode.decode_usage, response.stats))

    # --- commands in containers -------------------------------------------------------------------------

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        """Runs to the end, or raises RuntimeDeadlineExceeded; the runtime kills what is over time."""
        whole_seconds = max(1, math.ceil(timeout_seconds))
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=whole_seconds)
        response = await self._call(self._runtime.ExecSync, request, whole_seconds + _EXEC_SLACK_SECONDS)
        return ExecResult(response.stdout, response.stderr, response.exit_code)

    async def open_exec(
        self,
        container_id: ContainerID,
        command: tuple[str, ...],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str:
        """The URL at the runtime's streaming server where this command waits for its client."""
        request = cri.ExecRequest(
            container_id=container_id, cmd=command, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return (await self._call(self._runtime.Exec, request, _READ_SECONDS)).url

    async def open_attach(
        self, container_id: ContainerID, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        """The URL at the runtime's streaming server where the container's streams wait."""
        request = cri.AttachRequest(
            container_id=container_id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return (await self._call(self._runtime.Attach, request, _READ_SECONDS)).url

    async def open_port_forward(self, sandbox_id: SandboxID, ports: tuple[int, ...]) -> str:
        """The URL at the runtime's streaming server where the ports wait."""
        request = cri.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        return (await self._call(self._runtime.PortForward, request, _READ_SECONDS)).url

    # --- images -----------------------------------------------------------------------------------------

    async def list_images(self) -> tuple[RuntimeImage, ...]:
        response = await self._call(self._images.ListImages, cri.ListImagesRequest(), _READ_SECONDS)
        return tuple(map(decode.decode_image, response.images))

    async def read_image_status(self, image: str) -> RuntimeImage | None:
        """The image if the runtime holds it."""
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image))
        response = await self._call(self._images.ImageStatus, request, _READ_SECONDS)
        return decode.decode_image(response.image) if response.HasField("image") else None

    async def pull_image(
        self,
        image: str,
        credentials: RegistryCredentials | None = None,
        sandbox_config: cri.PodSandboxConfig | None = None,
    ) -> str:
        """The reference of the pulled image; no progress is reported by CRI."""
        auth = _build_auth(credentials) if credentials else None
        request = cri.PullImageRequest(
            image=cri.ImageSpec(image=image), auth=auth, sandbox_config=sandbox_config
        )
        return (await self._call(self._images.PullImage, request, _PULL_SECONDS)).image_ref

    async def remove_image(self, image: str) -> None:
        """Removes the image with all its tags. Idempotent."""
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=image))
        await self._call_removal(self._images.RemoveImage, request, _CHANGE_SECONDS)

    async def read_image_filesystems(self) -> tuple[FilesystemUsage, ...]:
        response = await self._call(self._images.ImageFsInfo, cri.ImageFsInfoRequest(), _READ_SECONDS)
        return tuple(map(decode.decode_filesystem, response.image_filesystems))


def _build_auth(credentials: RegistryCredentials) -> cri.AuthConfig:
    return cri.AuthConfig(
        username=credentials.username,
        password=credentials.password,
        auth=credentials.auth,
        server_address=credentials.server_address,
        identity_token=credentials.identity_token,
        registry_token=credentials.registry_token,
    )
