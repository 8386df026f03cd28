"""Decides what is to be done for each volume of a pod before its containers can start.

Pure: the contents of ConfigMaps, Secrets and tokens arrive as arguments. Called by `source`; `apply` does the
steps. A volume becomes one step, and doing a step twice is the same as doing it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.volumes import layout
from agent.volumes.files import Contents, VolumeFile, VolumeRefused, plan_volume_files
from kubeapi.meta import QuantityText
from kubeapi.pod import Pod
from kubeapi.quantity import QuantityError, parse_quantity
from kubeapi.volume import EmptyDirVolumeSource, HostPathVolumeSource, Volume


@dataclass(frozen=True, slots=True)
class MakeEmptyDir:
    name: str
    path: Path
    in_memory: bool
    size_bytes: int | None
    group_id: int | None


@dataclass(frozen=True, slots=True)
class WriteFiles:
    name: str
    path: Path
    files: tuple[VolumeFile, ...]
    in_memory: bool
    group_id: int | None


@dataclass(frozen=True, slots=True)
class KeepFiles:
    """The sources can't be read now: what was written before the agent's restart goes on serving."""

    name: str
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class CheckHostPath:
    name: str
    source: HostPathVolumeSource


VolumeStep = MakeEmptyDir | WriteFiles | KeepFiles | CheckHostPath


def plan_volume(
    root: Path, pod: Pod, volume: Volume, contents: Contents, allocatable: Mapping[str, QuantityText]
) -> VolumeStep | VolumeRefused:
    """The step that makes the volume ready."""
    if volume.empty_dir is not None:
        return _plan_empty_dir(root, pod, volume.name, volume.empty_dir)
    if volume.host_path is not None:
        return CheckHostPath(volume.name, volume.host_path)
    kind = compute_files_kind(volume)
    if kind is None:
        return VolumeRefused(
            "its kind isn't supported by this agent; use emptyDir, hostPath, configMap, secret, downwardAPI "
            "or projected"
        )
    files = plan_volume_files(volume, pod, contents, allocatable)
    if isinstance(files, VolumeRefused):
        return files
    path = layout.build_volume_path(root, pod.uid, kind, volume.name)
    return WriteFiles(volume.name, path, files, is_in_memory(kind), compute_group(pod))


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


def _plan_empty_dir(
    root: Path, pod: Pod, name: str, source: EmptyDirVolumeSource
) -> MakeEmptyDir | VolumeRefused:
    if source.medium not in ("", "Memory"):
        return VolumeRefused(
            f"emptyDir medium {source.medium!r} isn't supported by this agent; use '' or Memory"
        )
    in_memory = source.medium == "Memory"
    size = None
    if source.size_limit is not None:
        try:
            size = parse_quantity(source.size_limit).units()
        except QuantityError as error:
            return VolumeRefused(f"emptyDir sizeLimit: {error}")
    path = layout.build_volume_path(root, pod.uid, layout.EMPTY_DIR, name)
    return MakeEmptyDir(name, path, in_memory, size if in_memory and size else None, compute_group(pod))
