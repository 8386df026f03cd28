"""Decides what is to be done for each volume of a pod before its containers can start.

Pure: the contents of ConfigMaps, Secrets and tokens, and what claims are bound to, arrive as arguments.
Called by `source`; `apply` does the steps. A volume becomes one step, and doing a step twice is the same as
doing it once. Image volumes have no step: nothing of them is made on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from agent.volumes import layout
from agent.volumes.claims import BoundSource, HostPathVolume, LocalVolume
from agent.volumes.empty_dir import compute_memory_size
from agent.volumes.files import Contents, VolumeFile, VolumeRefused, plan_volume_files
from agent.volumes.mount_options import compute_mount_flags
from kubeapi.meta import QuantityText
from kubeapi.pod import Pod
from kubeapi.quantity import QuantityError
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume


@dataclass(frozen=True, slots=True)
class MakeEmptyDir:
    """`shared`: mounts made below it are to be seen in containers, or the other way round."""

    name: str
    path: Path
    in_memory: bool
    size_bytes: int | None
    group_id: int | None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class WriteFiles:
    name: str
    path: Path
    files: tuple[VolumeFile, ...]
    in_memory: bool
    group_id: int | None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class KeepFiles:
    """The sources can't be read now: what was written before the agent's restart goes on serving."""

    name: str
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class CheckHostPath:
    """`link`: where the path of a persistent volume is kept, for a restart without an API server."""

    name: str
    source: HostPathVolumeSource
    link: Path | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class BindLocal:
    """A directory of the node, a `local` persistent volume, shown at `path`."""

    name: str
    source: Path
    path: Path
    flags: int
    read_only: bool
    group_id: int | None
    group_policy: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class KeepClaim:
    """The claim can't be read now: what was mounted, or linked, before the agent's restart serves on."""

    name: str
    path: Path
    link: Path
    read_only: bool
    why: str


VolumeStep = MakeEmptyDir | WriteFiles | KeepFiles | CheckHostPath | BindLocal | KeepClaim


def plan_volume(
    root: Path,
    pod: Pod,
    volume: Volume,
    contents: Contents,
    allocatable: Mapping[str, QuantityText],
    bound: BoundSource | None = None,
) -> VolumeStep | VolumeRefused:
    """The step that makes the volume ready; `bound` is what its claim leads to."""
    if volume.empty_dir is not None:
        return _plan_empty_dir(root, pod, volume.name, volume.empty_dir, allocatable)
    if volume.host_path is not None:
        return CheckHostPath(volume.name, volume.host_path)
    if bound is not None:
        return _plan_claim(root, pod, volume, bound)
    kind = compute_files_kind(volume)
    if kind is None:
        return VolumeRefused(
            "its kind isn't supported by this agent; use emptyDir, hostPath, configMap, secret, downwardAPI, "
            "projected, image or a persistentVolumeClaim"
        )
    files = plan_volume_files(volume, pod, contents, allocatable)
    if isinstance(files, VolumeRefused):
        return files
    path = layout.build_volume_path(root, pod.uid, kind, volume.name)
    shared = has_propagation(pod, volume.name)
    return WriteFiles(volume.name, path, files, is_in_memory(kind), compute_group(pod), shared)


def plan_keeping(root: Path, pod: Pod, volume: Volume, why: str) -> KeepFiles | KeepClaim:
    """What is done for a volume while the API server doesn't say what it holds."""
    claim = volume.persistent_volume_claim
    if claim is None:
        kind = compute_files_kind(volume) or ""
        return KeepFiles(volume.name, layout.build_volume_path(root, pod.uid, kind, volume.name), why)
    return KeepClaim(
        volume.name,
        layout.build_volume_path(root, pod.uid, layout.LOCAL, volume.name),
        layout.build_volume_path(root, pod.uid, layout.HOST_PATH, volume.name),
        claim.read_only,
        why,
    )


def compute_files_kind(volume: Volume) -> str | None:
    """The layout's name of a volume made of files, or None for the other kinds."""
    if volume.config_map is not None:
        return layout.CONFIG_MAP
    if volume.secret is not None:
        return layout.SECRET
    if volume.downward_api is not None:
        return layout.DOWNWARD_API
    if volume.projected is not None:
        return layout.PROJECTED
    return None


def is_in_memory(kind: str) -> bool:
    """Whether files of this kind may be secrets, which must never reach a disk."""
    return kind in (layout.SECRET, layout.PROJECTED)


def compute_group(pod: Pod) -> int | None:
    """The pod's fsGroup."""
    context = pod.spec.security_context
    return context.fs_group if context is not None else None


def has_propagation(pod: Pod, volume: str) -> bool:
    """Whether a container of the pod asks for mounts to travel through this volume."""
    containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    return any(
        mount.name == volume and mount.mount_propagation in ("HostToContainer", "Bidirectional")
        for container in containers
        for mount in container.volume_mounts
    )


def _plan_empty_dir(
    root: Path, pod: Pod, name: str, source: EmptyDirVolumeSource, allocatable: Mapping[str, QuantityText]
) -> MakeEmptyDir | VolumeRefused:
    if source.medium not in ("", "Memory"):
        return VolumeRefused(
            f"emptyDir medium {source.medium!r} isn't supported by this agent; use '' or Memory"
        )
    in_memory = source.medium == "Memory"
    try:
        size = compute_memory_size(pod, source.size_limit, allocatable)
    except QuantityError as error:
        return VolumeRefused(f"emptyDir sizeLimit: {error}")
    path = layout.build_volume_path(root, pod.uid, layout.EMPTY_DIR, name)
    shared = has_propagation(pod, name)
    return MakeEmptyDir(name, path, in_memory, size if in_memory else None, compute_group(pod), shared)


def _plan_claim(
    root: Path, pod: Pod, volume: Volume, bound: BoundSource
) -> CheckHostPath | BindLocal | VolumeRefused:
    read_only = volume.persistent_volume_claim is not None and volume.persistent_volume_claim.read_only
    match bound:
        case HostPathVolume(source):
            link = layout.build_volume_path(root, pod.uid, layout.HOST_PATH, volume.name)
            return CheckHostPath(volume.name, source, link, read_only)
        case LocalVolume(source_path, mount_options):
            flags = compute_mount_flags(mount_options)
            if isinstance(flags, VolumeRefused):
                return flags
            context = pod.spec.security_context
            return BindLocal(
                volume.name,
                source_path,
                layout.build_volume_path(root, pod.uid, layout.LOCAL, volume.name),
                flags,
                read_only,
                None if read_only else compute_group(pod),
                (context.fs_group_change_policy if context is not None else None) or "Always",
                has_propagation(pod, volume.name),
            )
        case _:
            assert_never(bound)
