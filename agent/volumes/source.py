"""The volumes of this node's pods: `agent.pods.ports.VolumeSource`.

IO: reads ConfigMaps, Secrets and tokens through ports, then does the plan's steps in a thread of the pod's
own, with a deadline. Called by the pod lanes. What is to be done is decided in `plan`; this module reads,
calls and maps errors to `Unavailable` with the kubelet's reason FailedMount.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar, assert_never

from agent.pods.ports import ConfigSource, HostVolume, Unavailable
from agent.volumes import layout
from agent.volumes.apply import StepRefused, apply_step
from agent.volumes.blocking import BlockingWork, WorkHangs
from agent.volumes.files import (
    TOKEN_KEY,
    ConfigMapRef,
    SecretRef,
    SourceRef,
    TokenRef,
    VolumeRefused,
    list_sources,
)
from agent.volumes.host_path import HostPathRefused
from agent.volumes.plan import KeepFiles, VolumeStep, compute_files_kind, plan_volume
from agent.volumes.teardown import TeardownBlocked, remove_volume_tree
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.errors import KubeAPIError
from kubeapi.meta import ObjectKey, QuantityText
from kubeapi.pod import Pod, PodUID
from kubeapi.volume import Volume

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

FAILED_MOUNT: Final = "FailedMount"
_READ_SECONDS: Final = 10.0
_DISK_SECONDS: Final = 20.0


class PodVolumes:
    """`allocatable` answers what the node can give to pods, for limits that a container doesn't set."""

    def __init__(
        self,
        root: Path,
        config: ConfigSource,
        tokens: ServiceAccountTokens,
        work: BlockingWork,
        allocatable: Callable[[], Mapping[str, QuantityText]],
    ) -> None:
        self._root = root
        self._config = config
        self._tokens = tokens
        self._work = work
        self._allocatable = allocatable

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        """Every volume of the pod by name, made and filled; raises Unavailable. Idempotent."""
        if not pod.spec.volumes:
            return {}
        steps = await asyncio.gather(*(self._plan(pod, volume) for volume in pod.spec.volumes))
        return await self._run(pod.uid, "preparing the volumes", lambda: _apply_all(steps))

    async def refresh_volumes(self, pod: Pod) -> None:
        """Changed sources written into the pod's volumes; cheap when nothing changed. Raises Unavailable.

        Call it after a change and at every resync: that is also when tokens with little life left are
        renewed.
        """
        volumes = [volume for volume in pod.spec.volumes if compute_files_kind(volume) is not None]
        if not volumes:
            return
        steps = await asyncio.gather(*(self._plan(pod, volume) for volume in volumes))
        await self._run(pod.uid, "refreshing the volumes", lambda: _apply_all(steps))

    async def remove_volumes(self, uid: PodUID) -> None:
        """Unmounts and removes what `prepare_volumes` made; the contents of a hostPath stay. Idempotent."""
        directory = layout.build_volumes_directory(self._root, uid)
        await self._run(uid, "removing the volumes", lambda: remove_volume_tree(directory))
        self._tokens.forget(uid)

    async def _plan(self, pod: Pod, volume: Volume) -> VolumeStep:
        references = list_sources(volume)
        try:
            found = await asyncio.gather(*(self._read(pod, reference) for reference in references))
        except (KubeAPIError, TimeoutError) as error:
            return self._keep(pod, volume, error)
        contents = dict(zip(references, found, strict=True))
        planned = plan_volume(self._root, pod, volume, contents, self._allocatable())
        if isinstance(planned, VolumeRefused):
            raise Unavailable(FAILED_MOUNT, _setup_failed(volume.name, planned.message))
        return planned

    def _keep(self, pod: Pod, volume: Volume, error: Exception) -> KeepFiles:
        kind = compute_files_kind(volume) or ""
        path = layout.build_volume_path(self._root, pod.uid, kind, volume.name)
        _log.warning(
            "the sources of a volume can't be read",
            extra={"pod": str(pod.key), "volume": volume.name},
            exc_info=error,
        )
        return KeepFiles(volume.name, path, f"its sources can't be read from the API server: {error}")

    async def _read(self, pod: Pod, reference: SourceRef) -> Mapping[str, bytes] | None:
        namespace = pod.metadata.namespace
        async with asyncio.timeout(_READ_SECONDS):
            match reference:
                case ConfigMapRef():
                    return await self._config.read_config_map(ObjectKey(namespace, reference.name))
                case SecretRef():
                    return await self._config.read_secret(ObjectKey(namespace, reference.name))
                case TokenRef():
                    token = await self._tokens.read_token(pod, reference)
                    return {TOKEN_KEY: token.encode()} if token is not None else None
                case _:
                    assert_never(reference)

    async def _run(self, uid: PodUID, what: str, call: Callable[[], ResultT]) -> ResultT:
        try:
            return await self._work.run(uid, what, call, deadline_seconds=_DISK_SECONDS)
        except (WorkHangs, TeardownBlocked, _StepFailed) as error:
            raise Unavailable(FAILED_MOUNT, str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Unavailable(FAILED_MOUNT, f"{what} failed: {where}{error.strerror}") from error


class _StepFailed(Exception):
    """A step's error, with the volume's name."""


def _apply_all(steps: list[VolumeStep]) -> dict[str, HostVolume]:
    ready = {}
    for step in steps:
        try:
            ready[step.name] = apply_step(step)
        except (StepRefused, HostPathRefused, OSError) as error:
            raise _StepFailed(_setup_failed(step.name, str(error))) from error
    return ready


def _setup_failed(volume: str, why: str) -> str:
    return f'MountVolume.SetUp failed for volume "{volume}" : {why}'
