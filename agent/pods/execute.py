"""Carries out one action for a pod.

IO through ports only: runtime, images, volumes, configuration, files, API. Called by the lanes, one call for
each action; decides nothing about when. Returns what the lane is to remember; raises RuntimeServiceError,
Unavailable, KubeAPIError or OSError.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from agent.pods.actions import (
    Action,
    CreateContainer,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RemovePodFiles,
    RemovePodSandbox,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
    UpdateContainerResources,
    UpdatePodCgroup,
)
from agent.pods.admission import asks_for_features, find_unsupported
from agent.pods.config.container_config import (
    ContainerInputs,
    ContainerMount,
    build_container_config,
    find_target,
)
from agent.pods.config.container_mounts import asks_for_recursion, build_mounts, list_sub_paths, plan_mounts
from agent.pods.config.environment import (
    CONFIG_ERROR,
    EnvironmentFacts,
    compute_environment,
    list_references,
)
from agent.pods.config.sandbox_config import PodEnvironment, build_log_directory, build_sandbox_config
from agent.pods.goal import compute_spec_hash, find_container
from agent.pods.hooks import HookRunner
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.outcomes import (
    ActionResult,
    ContainerCreated,
    ContainerResized,
    ContainerStarted,
    HookFailed,
    ImageEnsured,
    SandboxMade,
    VolumesPrepared,
)
from agent.pods.pod_api import PodApi
from agent.pods.pod_files import ContainerFiles, PodFiles, build_termination_path
from agent.pods.ports import (
    ConfigSource,
    ContainerID,
    ImageSource,
    ProbeTarget,
    Unavailable,
    VolumeSource,
)
from agent.pods.progress import Progress
from agent.pods.resize.update import (
    UPDATE_ERROR,
    build_resource_update,
    find_memory_conflict,
    is_memory_lowered,
)
from agent.pods.security.runtime_class import NamedHandlers, RuntimeHandlers
from agent.pods.security.user_ids import IDRange
from agent.pods.security.user_namespaces import NoUserNamespaces, UserNamespaces
from agent.pods.status.writer import StatusWriter
from agent.resources.pod_limits import compute_pod_limits
from agent.runtime.cut_starts import remove_sandbox
from agent.runtime.service import RuntimeService
from agent.runtime.stop_signal import stop_with_signal
from agent.runtime.values import ContainerState
from agent.volumes.sub_path import SubPathRefused
from kubeapi.core import Service
from kubeapi.meta import QuantityText
from kubeapi.pod import Container, LifecycleHandler, Pod

_CONFIG_SECONDS: Final = 10.0
_FILES_SECONDS: Final = 60.0
_VOLUME_SECONDS: Final = 60.0
_IMAGE_SECONDS: Final = 3600.0
_FLUSH_SECONDS: Final = 10.0
_POST_START_SECONDS: Final = 600.0
_TERMINATION_FALLBACK: Final = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What variables may say of the node; services as last seen."""

    host_ips: tuple[str, ...]
    services: tuple[Service, ...]
    allocatable: Mapping[str, QuantityText]


@dataclass(frozen=True, slots=True)
class PodView:
    """The pod an action is for, as its lane saw it when it planned."""

    pod: Pod
    observed: ObservedPod
    progress: Progress
    pod_ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executor:
    runtime: RuntimeService
    images: ImageSource
    volumes: VolumeSource
    config: ConfigSource
    files: PodFiles
    hooks: HookRunner
    api: PodApi
    status_writer: StatusWriter
    environment: PodEnvironment
    read_node: Callable[[], NodeView]
    now: Callable[[], float]
    handlers: RuntimeHandlers = field(default_factory=NamedHandlers)
    users: UserNamespaces = field(default_factory=NoUserNamespaces)
    started_at: float = 0.0  # this process, in seconds since the epoch

    async def execute(self, action: Action, view: PodView) -> ActionResult:
        """Does it, or raises."""
        match action:
            case PrepareVolumes() | RefreshVolumes() | RemoveVolumes():
                return await self._do_volumes(action, view.pod)
            case RunPodSandbox():
                return await self._run_sandbox(action, view.pod)
            case StopPodSandbox():
                await self.runtime.stop_pod_sandbox(action.sandbox_id)
            case RemovePodSandbox():
                created = (s.created_at for s in view.observed.sandboxes if s.id == action.sandbox_id)
                inherited = any(at < self.started_at for at in created)
                await remove_sandbox(self.runtime, action.sandbox_id, inherited=inherited)
            case EnsureImage():
                return await self._ensure_image(action, view.pod)
            case CreateContainer():
                return await self._create_container(action, view)
            case StartContainer():
                await self.runtime.start_container(action.container_id)
                return ContainerStarted(action.container_id)
            case StopContainer():
                # Up, never down: the runtime counts whole seconds, and a grace period is a promise.
                remaining = max(0, math.ceil(action.kill_at - self.now()))
                if action.signal:
                    await stop_with_signal(self.runtime, action.container_id, action.signal, remaining)
                else:
                    await self.runtime.stop_container(action.container_id, remaining)
            case RemoveContainer():
                await self._remove_container(action, view)
            case RunPreStopHook() | RunPostStartHook():
                return await self._run_hook(action, view)
            case UpdatePodCgroup():
                async with asyncio.timeout(_FILES_SECONDS):
                    await self.files.limit_pod(view.pod, action.limits)
            case UpdateContainerResources():
                return await self._update_resources(action, view.pod)
            case RemovePodFiles():
                async with asyncio.timeout(_FILES_SECONDS):
                    await self.files.remove_pod(view.pod)
                self.users.release(view.pod.uid)
            case DeletePod():
                await self._delete_pod(view.pod)
            case _:
                assert_never(action)
        return None

    async def _run_sandbox(self, action: RunPodSandbox, pod: Pod) -> SandboxMade:
        handler = await self._choose_handler(pod)
        async with asyncio.timeout(_FILES_SECONDS):
            users = await self._choose_users(pod)
            config = build_sandbox_config(pod, action.attempt, self.environment, users)
            await self.files.prepare_pod(pod)
            await self.files.limit_pod(pod, compute_pod_limits(pod))
        return SandboxMade(await self.runtime.run_pod_sandbox(config, handler), action.attempt)

    async def _choose_handler(self, pod: Pod) -> str:
        """One that can do what the pod asks for: since its admission the runtime may have become another."""
        async with asyncio.timeout(_CONFIG_SECONDS):
            handler = await self.handlers.find_handler(pod)
        if asks_for_features(pod):
            features = await self.runtime.read_handler_features(handler)
            if (refusal := find_unsupported(pod, features)) is not None:
                raise Unavailable("FailedCreatePodSandBox", refusal.message)
        return handler

    async def _choose_users(self, pod: Pod) -> IDRange | None:
        return await self.users.allocate(pod.uid) if pod.spec.host_users is False else None

    async def _do_volumes(
        self, action: PrepareVolumes | RefreshVolumes | RemoveVolumes, pod: Pod
    ) -> ActionResult:
        pulls = any(volume.image is not None for volume in pod.spec.volumes)
        async with asyncio.timeout(_IMAGE_SECONDS if pulls else _VOLUME_SECONDS):
            match action:
                case PrepareVolumes():
                    return VolumesPrepared(await self.volumes.prepare_volumes(pod))
                case RefreshVolumes():
                    await self.volumes.refresh_volumes(pod)
                case RemoveVolumes():
                    await self.volumes.remove_volumes(pod.uid)
        return None

    async def _ensure_image(self, action: EnsureImage, pod: Pod) -> ImageEnsured:
        async with asyncio.timeout(_IMAGE_SECONDS):
            return ImageEnsured(await self.images.ensure_image(pod, _find(pod, action.container)))

    async def _remove_container(self, action: RemoveContainer, view: PodView) -> None:
        await self.runtime.remove_container(action.container_id)
        async with asyncio.timeout(_FILES_SECONDS):
            await self._remove_container_files(action, view)

    async def _remove_container_files(self, action: RemoveContainer, view: PodView) -> None:
        for container in view.observed.attempts(action.container):
            if container.id == action.container_id:
                await self.files.remove_log(
                    build_termination_path(self.environment, view.pod.uid, container.name, container.attempt)
                )
            if container.id == action.container_id and container.dead:
                name = f"{container.name}/{container.restart_count}.log"
                await self.files.remove_log(build_log_directory(view.pod, self.environment) / name)

    async def _delete_pod(self, pod: Pod) -> None:
        async with asyncio.timeout(_FLUSH_SECONDS):
            await self.status_writer.flush(pod.uid)
        await self.api.delete_pod(pod)

    # --- containers -----------------------------------------------------------------------------------------

    async def _create_container(self, action: CreateContainer, view: PodView) -> ContainerCreated:
        container = _find(view.pod, action.container)
        variables = await self._read_environment(view, container)
        async with asyncio.timeout(_FILES_SECONDS):
            users = await self._choose_users(view.pod)
            files, mounts = await self._prepare_mounts(action, view, container, variables)
        image = view.progress.images[action.container].image
        target = find_target(container, view.pod, view.observed)
        inputs = ContainerInputs(image, variables, mounts, files.termination, target, users)
        sandbox = next(s for s in view.observed.sandboxes if s.id == action.sandbox_id)
        container_id = await self.runtime.create_container(
            action.sandbox_id,
            build_container_config(view.pod, container, action, inputs, self.environment),
            build_sandbox_config(view.pod, sandbox.attempt, self.environment, users),
        )
        created = ObservedContainer(
            id=container_id,
            sandbox_id=action.sandbox_id,
            name=action.container,
            attempt=action.attempt,
            state=ContainerState.CREATED,
            created_at=self.now(),
            restart_count=action.restart_count,
            spec_hash=compute_spec_hash(container),
            backoff_seconds=action.backoff_seconds,
            resources=container.resources,
            pod_restarts=action.pod_restarts,
        )
        return ContainerCreated(created)

    async def _update_resources(self, action: UpdateContainerResources, pod: Pod) -> ContainerResized:
        if is_memory_lowered(action):
            used = await self.runtime.read_memory_usage(action.container_id)
            if (conflict := find_memory_conflict(action, used)) is not None:
                raise Unavailable(UPDATE_ERROR, conflict)
        container = _find(pod, action.container)
        resources = build_resource_update(pod, container, action, self.environment.memory_capacity_bytes)
        await self.runtime.update_container_resources(action.container_id, resources)
        return ContainerResized(action.container_id, action.wanted)

    async def _read_environment(self, view: PodView, container: Container) -> Mapping[str, str]:
        references = list_references(view.pod, container)
        node = self.read_node()
        async with asyncio.timeout(_CONFIG_SECONDS):
            config_maps = {key: await self.config.read_config_map(key) for key in references.config_maps}
            secrets = {key: await self.config.read_secret(key) for key in references.secrets}
        facts = EnvironmentFacts(
            pod_ips=view.pod_ips,
            host_ips=node.host_ips,
            services=node.services,
            config_maps=config_maps,
            secrets=secrets,
            allocatable=node.allocatable,
        )
        return compute_environment(view.pod, container, facts)

    async def _prepare_mounts(
        self, action: CreateContainer, view: PodView, container: Container, variables: Mapping[str, str]
    ) -> tuple[ContainerFiles, tuple[ContainerMount, ...]]:
        recursion = False
        if asks_for_recursion(container):
            handler = await self.handlers.find_handler(view.pod)
            recursion = (await self.runtime.read_handler_features(handler)).recursive_read_only
        mounts = plan_mounts(container, view.progress.volumes or {}, variables, recursion)
        try:
            files = await self.files.prepare_container(
                view.pod,
                container.name,
                action.attempt,
                view.pod_ips,
                list_sub_paths(mounts),
            )
        except SubPathRefused as error:
            raise Unavailable(CONFIG_ERROR, str(error)) from error
        return files, (*build_mounts(mounts, files.sub_paths), *_build_own_mounts(container, files))

    # --- hooks ----------------------------------------------------------------------------------------------

    async def _run_hook(self, action: RunPreStopHook | RunPostStartHook, view: PodView) -> HookFailed | None:
        container = _find(view.pod, action.container)
        hook = _find_hook(container, action)
        if hook is None:
            return None
        target = ProbeTarget(
            view.pod,
            container,
            action.container_id,
            next(iter(view.pod_ips), ""),
            self._started_at(action.container_id, view),
        )
        seconds = _POST_START_SECONDS
        if isinstance(action, RunPreStopHook):
            seconds = max(1.0, action.kill_at - self.now())
        return await self.hooks.run(hook, target, seconds)

    def _started_at(self, container_id: ContainerID, view: PodView) -> float:
        found = (c.started_at for c in view.observed.containers if c.id == container_id)
        return next(found, None) or self.now()


def _find(pod: Pod, name: str) -> Container:
    container = find_container(pod, name)
    if container is None:
        raise Unavailable(CONFIG_ERROR, f"the pod has no container {name}")
    return container


def _find_hook(container: Container, action: RunPreStopHook | RunPostStartHook) -> LifecycleHandler | None:
    if container.lifecycle is None:
        return None
    if isinstance(action, RunPreStopHook):
        return container.lifecycle.pre_stop
    return container.lifecycle.post_start


def _build_own_mounts(container: Container, files: ContainerFiles) -> Iterable[ContainerMount]:
    """What every container gets, unless it mounts something there itself."""
    taken = {mount.mount_path for mount in container.volume_mounts}
    if "/etc/hosts" not in taken:
        yield ContainerMount("/etc/hosts", files.hosts)
    path = container.termination_message_path or _TERMINATION_FALLBACK
    if path not in taken:
        yield ContainerMount(path, files.termination)
