"""The volumes of this node's pods: `agent.pods.ports.VolumeSource`.

IO: does the plan's steps, each in a thread of its volume's own with a deadline, so that a volume that hangs
holds up neither another pod nor the other volumes of its own. Called by the pod lanes. What is to be done is
decided in `plan`; this module calls and maps errors to `Unavailable` with the kubelet's reasons.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from agent.pods.ports import ConfigSource, HostVolume, Unavailable
from agent.runtime.errors import RuntimeServiceError
from agent.volumes import layout
from agent.volumes.apply import StepRefused, apply_step
from agent.volumes.blocking import BlockingWork, WorkHangs
from agent.volumes.claim_api import ClaimApi
from agent.volumes.claims import BoundSource
from agent.volumes.files import VolumeRefused
from agent.volumes.host_path import HostPathRefused
from agent.volumes.image_volumes import ImageVolumes
from agent.volumes.mounts import describe_mount_of
from agent.volumes.plan import (
    BindLocal,
    CheckHostPath,
    VolumeStep,
    compute_files_kind,
    plan_keeping,
    plan_volume,
)
from agent.volumes.source_reading import PodSources, SourceUnread, VolumeSources
from agent.volumes.teardown import MountBusy, TeardownBlocked, remove_volume_tree
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.core import Node
from kubeapi.meta import QuantityText
from kubeapi.pod import Pod, PodUID
from kubeapi.volume import Volume

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

FAILED_MOUNT: Final = "FailedMount"
_UNMOUNT: Final = "FailedUnMount"
_DISK_SECONDS: Final = 20.0
_BUSY_SECONDS: Final = 30.0
_CLAIM_RETRY_SECONDS: Final = 3.0


class PodVolumes:
    """`allocatable` answers what the node can give to pods, for limits that a container doesn't set."""

    def __init__(
        self,
        root: Path,
        config: ConfigSource,
        tokens: ServiceAccountTokens,
        work: BlockingWork,
        allocatable: Callable[[], Mapping[str, QuantityText]],
        *,
        claims: ClaimApi | None = None,
        read_node: Callable[[], Node | None] = lambda: None,
        images: ImageVolumes | None = None,
    ) -> None:
        self._root = root
        self._sources = VolumeSources(config, tokens, claims, read_node)
        self._tokens = tokens
        self._work = work
        self._allocatable = allocatable
        self._images = images
        self._busy_since: dict[Path, float] = {}

    async def prepare_volumes(self, pod: Pod) -> Mapping[str, HostVolume]:
        """Every volume of the pod by name, made and filled; raises Unavailable. Idempotent."""
        return await self._prepare(pod, pod.spec.volumes)

    async def refresh_volumes(self, pod: Pod) -> None:
        """Changed sources written into the pod's volumes; cheap when nothing changed. Raises Unavailable.

        Call it after a change and at every resync: that is also when tokens with little life left are
        renewed.
        """
        await self._prepare(
            pod, [volume for volume in pod.spec.volumes if compute_files_kind(volume) is not None]
        )

    async def remove_volumes(self, uid: PodUID) -> None:
        """Unmounts and removes what `prepare_volumes` made, and all else that is mounted there; the contents
        of a hostPath stay. Idempotent; raises Unavailable.

        What is there is read from the disk and the kernel, so it works for pods that nobody remembers.
        """
        sub_paths = layout.build_sub_paths_directory(self._root, uid)
        volumes = layout.build_volumes_directory(self._root, uid)
        listed = await self._run(
            (uid, ""), "listing the volumes", lambda: (_list_parts(sub_paths), _list_parts(volumes)), _UNMOUNT
        )
        for top, parts in zip((sub_paths, volumes), listed, strict=True):
            if parts is not None:
                # Each on its own first: one that hangs doesn't keep the others.
                await _gather_all((self._remove(uid, part) for part in parts), _UNMOUNT)
                await self._remove(uid, top)
        self._tokens.forget(uid)

    # --- preparing ------------------------------------------------------------------------------------------

    async def _prepare(self, pod: Pod, volumes: Iterable[Volume]) -> Mapping[str, HostVolume]:
        wanted = tuple(volumes)
        if not wanted:
            return {}
        sources = await self._sources.read_sources(pod, wanted)
        ready = await _gather_all((self._prepare_one(pod, each, sources) for each in wanted), FAILED_MOUNT)
        return {volume.name: host for volume, host in zip(wanted, ready, strict=True)}

    async def _prepare_one(self, pod: Pod, volume: Volume, sources: PodSources) -> HostVolume:
        if volume.image is not None and self._images is not None:
            try:
                return await self._images.ensure_volume(pod, volume.image)
            except RuntimeServiceError as error:
                raise Unavailable(FAILED_MOUNT, _setup_failed(volume.name, str(error))) from error
        step = await self._plan(pod, volume, sources)
        what = f'mounting volume "{volume.name}"'
        try:
            return await self._run((pod.uid, volume.name), what, lambda: _apply(step), FAILED_MOUNT)
        except Unavailable as error:
            raise Unavailable(error.reason, error.message + _describe_place(step, error)) from error

    async def _plan(self, pod: Pod, volume: Volume, sources: PodSources) -> VolumeStep:
        claim = volume.persistent_volume_claim
        bound: BoundSource | VolumeRefused | None
        try:
            contents = sources.choose(volume)
            bound = await self._sources.read_bound(pod, claim) if claim is not None else None
        except SourceUnread as error:
            _log.warning(
                "what a volume holds can't be read",
                extra={"pod": str(pod.key), "volume": volume.name, "error": str(error)},
            )
            return plan_keeping(self._root, pod, volume, str(error))
        if not isinstance(bound, VolumeRefused):
            planned = plan_volume(self._root, pod, volume, contents, self._allocatable(), bound)
            if not isinstance(planned, VolumeRefused):
                return planned
            bound = planned
        # Changed ConfigMaps and Secrets wake the pod; claims are only looked at.
        retry_seconds = _CLAIM_RETRY_SECONDS if claim is not None else None
        raise Unavailable(FAILED_MOUNT, _setup_failed(volume.name, bound.message), retry_seconds)

    # --- removing -------------------------------------------------------------------------------------------

    async def _remove(self, uid: PodUID, part: Path) -> None:
        """A mount that stays busy for too long is taken out of the tree: see docs/loops."""
        now = asyncio.get_running_loop().time()
        since = self._busy_since.get(part)
        force = since is not None and now - since >= _BUSY_SECONDS
        key = (uid, part.name) if part.parents[1].name == "volumes" else (uid, str(part))
        try:
            await self._run(
                key,
                f"removing {part}",
                lambda: remove_volume_tree(part, force=force),
                _UNMOUNT,
            )
        except Unavailable as error:
            if isinstance(error.__cause__, MountBusy):
                self._busy_since.setdefault(part, now)
            raise
        self._busy_since.pop(part, None)

    async def _run(self, key: Hashable, what: str, call: Callable[[], ResultT], reason: str) -> ResultT:
        try:
            return await self._work.run(key, what, call, deadline_seconds=_DISK_SECONDS)
        except (WorkHangs, TeardownBlocked, _StepFailed) as error:
            raise Unavailable(reason, str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Unavailable(reason, f"{what} failed: {where}{error.strerror}") from error


class _StepFailed(Exception):
    """A step's error, with the volume's name."""


async def _gather_all(calls: Iterable[Awaitable[ResultT]], reason: str) -> list[ResultT]:
    """All results; once all have ended, one Unavailable with the messages of those that failed."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    results: list[ResultT] = []
    refused: list[Unavailable] = []
    for answer in answers:
        match answer:
            case Unavailable():
                refused.append(answer)
            case BaseException():
                raise answer
            case _:
                results.append(answer)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        soonest = min(
            (each.retry_seconds for each in refused if each.retry_seconds is not None), default=None
        )
        raise Unavailable(reason, "; ".join(each.message for each in refused), soonest) from refused[0]
    return results


def _apply(step: VolumeStep) -> HostVolume:
    try:
        return apply_step(step)
    except (StepRefused, HostPathRefused, OSError) as error:
        raise _StepFailed(_setup_failed(step.name, str(error))) from error


def _list_parts(top: Path) -> tuple[Path, ...] | None:
    """What lies two levels below, by name only, as looking at it may hang; None: there is no `top`."""
    try:
        return tuple(top / kind / name for kind in os.listdir(top) for name in _list_names(top / kind))
    except FileNotFoundError:
        return None


def _list_names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _describe_place(step: VolumeStep, error: Unavailable) -> str:
    """For a call that hangs: whose file system it is that doesn't answer."""
    if not isinstance(error.__cause__, WorkHangs):
        return ""
    match step:
        case CheckHostPath(source=source):
            return describe_mount_of(Path(source.path))
        case BindLocal(source=path):
            return describe_mount_of(path)
        case _:
            return ""


def _setup_failed(volume: str, why: str) -> str:
    return f'MountVolume.SetUp failed for volume "{volume}" : {why}'
