"""Does one step of the volume plan on this machine.

IO: directories, files, tmpfs mounts; synchronous, called by `source` in a thread of its own for each pod.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import assert_never

from agent.pods.ports import HostVolume
from agent.volumes.atomic_writer import write_volume_files
from agent.volumes.host_path import prepare_host_path
from agent.volumes.mounts import MS_NODEV, MS_NOSUID, mount_tmpfs
from agent.volumes.plan import CheckHostPath, KeepFiles, MakeEmptyDir, VolumeStep, WriteFiles


class StepRefused(Exception):
    """The step can't be done now; one sentence."""


def apply_step(step: VolumeStep) -> HostVolume:
    """The volume, ready on the host; raises StepRefused, HostPathRefused or OSError. Idempotent."""
    match step:
        case MakeEmptyDir():
            _make_directory(step.path)
            if step.in_memory and not os.path.ismount(step.path):
                mount_tmpfs(step.path, size_bytes=step.size_bytes)
            _open_to_all(step.path, step.group_id)
            return HostVolume(step.path)
        case WriteFiles():
            _make_directory(step.path)
            if step.in_memory and not os.path.ismount(step.path):
                mount_tmpfs(step.path, flags=MS_NOSUID | MS_NODEV)
            _open_to_all(step.path, step.group_id)
            write_volume_files(step.path, step.files, step.group_id)
            return HostVolume(step.path, read_only=True)
        case KeepFiles():
            if not (step.path / "..data").exists():
                raise StepRefused(step.why)
            return HostVolume(step.path, read_only=True)
        case CheckHostPath():
            return HostVolume(prepare_host_path(step.source))
        case _:
            assert_never(step)


def _make_directory(path: Path) -> None:
    # The volumes' parents are closed to everybody but root: pods see the volume itself only.
    for directory in (path.parents[2], path.parents[1], path.parents[0]):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.mkdir(exist_ok=True)


def _open_to_all(path: Path, group_id: int | None) -> None:
    """Any user of the pod may write to an emptyDir; with an fsGroup, new files belong to that group."""
    mode = 0o777 if group_id is None else 0o2777
    status = path.stat()
    if group_id is not None and status.st_gid != group_id:
        os.chown(path, -1, group_id)
    if status.st_mode & 0o7777 != mode:
        path.chmod(mode)
