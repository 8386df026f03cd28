"""What a container's volumeMounts become as mounts of its ContainerConfig.

Pure. Called by `execute`: `plan_mounts` before the sub-paths are looked up, `build_mounts` once they are.
Refusals are Unavailable with the kubelet's reason CreateContainerConfigError. Follows the VolumeMount page of
the API reference: subPathExpr, recursiveReadOnly, mountPropagation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from agent.pods.config.container_config import ContainerMount
from agent.pods.config.environment import CONFIG_ERROR, expand, list_unknown_names
from agent.pods.ports import HostVolume, Unavailable
from kubeapi.pod import Container, VolumeMount

_NO_PROPAGATION: Final = ("", "None")


@dataclass(frozen=True, slots=True)
class PlannedMount:
    """One volumeMount; `sub_path` is a relative path, or empty for the whole volume."""

    container_path: str
    volume: HostVolume
    sub_path: str
    read_only: bool
    recursive_read_only: bool
    propagation: str

    @property
    def binds_sub_path(self) -> bool:
        """Whether a part of a volume on the host is to be looked up; that of an image is the runtime's."""
        return bool(self.sub_path) and not self.volume.image


def asks_for_recursion(container: Container) -> bool:
    """Whether it matters what the runtime can do."""
    return any(mount.recursive_read_only not in (None, "", "Disabled") for mount in container.volume_mounts)


def plan_mounts(
    container: Container,
    volumes: Mapping[str, HostVolume],
    variables: Mapping[str, str],
    has_recursion: bool,
) -> tuple[PlannedMount, ...]:
    """The container's mounts in order; `has_recursion`: the runtime has recursive read-only mounts."""
    return tuple(
        _plan_mount(container, mount, volumes, variables, has_recursion) for mount in container.volume_mounts
    )


def list_sub_paths(mounts: tuple[PlannedMount, ...]) -> tuple[tuple[Path, str], ...]:
    """The volumes' paths and the parts of them that are to be found on the host."""
    return tuple((mount.volume.path, mount.sub_path) for mount in mounts if mount.binds_sub_path)


def build_mounts(mounts: tuple[PlannedMount, ...], sub_paths: tuple[Path, ...]) -> Iterator[ContainerMount]:
    """CRI's mounts; `sub_paths` answer `list_sub_paths`, in its order."""
    found = iter(sub_paths)
    for mount in mounts:
        yield ContainerMount(
            mount.container_path,
            next(found) if mount.binds_sub_path else mount.volume.path,
            mount.read_only,
            mount.propagation,
            mount.recursive_read_only,
            mount.volume.image,
            mount.sub_path if mount.volume.image else "",
        )


def _plan_mount(
    container: Container,
    mount: VolumeMount,
    volumes: Mapping[str, HostVolume],
    variables: Mapping[str, str],
    has_recursion: bool,
) -> PlannedMount:
    volume = volumes.get(mount.name)
    if volume is None:
        raise _refuse(f"the pod has no volume {mount.name}, which {mount.mount_path} mounts")
    propagation = mount.mount_propagation or ""
    if propagation == "Bidirectional" and not _is_privileged(container):
        raise _refuse("Bidirectional mount propagation is available only to privileged containers")
    read_only = mount.read_only or volume.read_only
    recursive = _resolve_recursion(mount, read_only, has_recursion)
    sub_path = _choose_sub_path(mount, variables)
    return PlannedMount(mount.mount_path, volume, sub_path, read_only, recursive, propagation)


def _choose_sub_path(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    sub_path = mount.sub_path
    if mount.sub_path_expr:
        unknown = list_unknown_names(mount.sub_path_expr, variables)
        if unknown:
            raise _refuse(f"missing value for {', '.join(map(repr, unknown))} in subPathExpr of {mount.name}")
        sub_path = expand(mount.sub_path_expr, variables)
    path = PurePosixPath(sub_path)
    if path.is_absolute():
        raise _refuse(f"error SubPath `{sub_path}` must not be an absolute path")
    if ".." in path.parts:
        raise _refuse(f"error SubPath `{sub_path}` must not contain '..'")
    return str(path) if path.parts else ""


def _resolve_recursion(mount: VolumeMount, read_only: bool, has_recursion: bool) -> bool:
    mode = mount.recursive_read_only or "Disabled"
    if mode == "Disabled":
        return False
    asked = f'volume "{mount.name}" requested recursive read-only mode, but it is'
    if mode not in ("IfPossible", "Enabled"):
        raise _refuse(f'unknown recursive read-only mode "{mode}"; use Disabled, IfPossible or Enabled')
    if not read_only:
        raise _refuse(f"{asked} not read-only")
    if (mount.mount_propagation or "") not in _NO_PROPAGATION:
        raise _refuse(f'{asked} not compatible with propagation "{mount.mount_propagation}"')
    if mode == "Enabled" and not has_recursion:
        raise _refuse(f"{asked} not supported by the runtime")
    return has_recursion


def _is_privileged(container: Container) -> bool:
    return container.security_context is not None and bool(container.security_context.privileged)


def _refuse(message: str) -> Unavailable:
    return Unavailable(CONFIG_ERROR, message)
