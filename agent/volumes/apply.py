"""Does one step of the volume plan on this machine.

IO: directories, files, mounts; synchronous, called by `source` in a thread of the volume's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import assert_never

from agent.pods.ports import HostVolume
from agent.volumes.atomic_writer import write_volume_files
from agent.volumes.host_path import prepare_host_path
from agent.volumes.mount_flags import MS_NODEV, MS_NOSUID
from agent.volumes.mounts import (
    bind_mount,
    find_mount,
    is_mounted,
    make_shared,
    mount_tmpfs,
)
from agent.volumes.ownership import apply_group
from agent.volumes.plan import (
    BindLocal,
    CheckHostPath,
    KeepClaim,
    KeepFiles,
    MakeEmptyDir,
    VolumeStep,
    WriteFiles,
)


class StepRefused(Exception):
    """The step can't be done now; one sentence."""


def apply_step(step: VolumeStep) -> HostVolume:
    """The volume, ready on the host; raises StepRefused, HostPathRefused or OSError. Idempotent."""
    match step:
        case MakeEmptyDir():
            _make_directory(step.path)
            if step.in_memory and not is_mounted(step.path):
                mount_tmpfs(step.path, size_bytes=step.size_bytes)
            _open_to_all(step.path, step.group_id)
            return _share(step.path, step.shared)
        case WriteFiles():
            _make_directory(step.path)
            if step.in_memory and not is_mounted(step.path):
                mount_tmpfs(step.path, flags=MS_NOSUID | MS_NODEV)
            _open_to_all(step.path, step.group_id)
            write_volume_files(step.path, step.files, step.group_id)
            return _share(step.path, step.shared, read_only=True)
        case KeepFiles():
            if not (step.path / "..data").exists():
                raise StepRefused(step.why)
            return HostVolume(step.path, read_only=True)
        case CheckHostPath():
            return _check_host_path(step)
        case BindLocal():
            return _bind_local(step)
        case KeepClaim():
            return _keep_claim(step)
        case _:
            assert_never(step)


def _check_host_path(step: CheckHostPath) -> HostVolume:
    path = prepare_host_path(step.source)
    if step.link is not None:
        _make_parents(step.link)
        if not step.link.is_symlink() or step.link.readlink() != path:
            step.link.unlink(missing_ok=True)
            step.link.symlink_to(path)
    return HostVolume(path, step.read_only)


def _bind_local(step: BindLocal) -> HostVolume:
    if not is_mounted(step.path):
        if not step.source.exists():
            raise StepRefused(f'path "{step.source}" does not exist')
        if not step.source.is_dir():
            raise StepRefused(
                f'path "{step.source}" of the local volume is no directory; mount the device and '
                "name the directory where it is mounted"
            )
        _make_directory(step.path)
        bind_mount(step.source, step.path, flags=step.flags)
    if step.group_id is not None:
        apply_group(step.path, step.group_id, step.group_policy)
    return _share(step.path, step.shared, read_only=step.read_only)


def _keep_claim(step: KeepClaim) -> HostVolume:
    if is_mounted(step.path):
        return HostVolume(step.path, step.read_only)
    if step.link.is_symlink():
        return HostVolume(step.link.readlink(), step.read_only)
    raise StepRefused(step.why)


def _share(path: Path, shared: bool, *, read_only: bool = False) -> HostVolume:
    """Where mounts are to travel, the volume is a shared mount, whatever the disk below it is."""
    if shared:
        if (mount := find_mount(path)) is None:
            bind_mount(path, path)
        if mount is None or not mount.shared:
            make_shared(path)
    return HostVolume(path, read_only)


def _make_directory(path: Path) -> None:
    _make_parents(path)
    path.mkdir(exist_ok=True)


def _make_parents(path: Path) -> None:
    # The volumes' parents are closed to everybody but root: pods see the volume itself only.
    for directory in (path.parents[2], path.parents[1], path.parents[0]):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)


def _open_to_all(path: Path, group_id: int | None) -> None:
    """Any user of the pod may write to an emptyDir; with an fsGroup, new files belong to that group."""
    mode = 0o777 if group_id is None else 0o2777
    status = path.stat()
    if group_id is not None and status.st_gid != group_id:
        os.chown(path, -1, group_id)
    if status.st_mode & 0o7777 != mode:
        path.chmod(mode)
