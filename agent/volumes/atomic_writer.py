"""Writes a volume's files so that a reader sees all old contents or all new ones, never a mix.

IO: the volume's directory; synchronous, called by `source` in a thread. The files lie in a directory named
after the time; the symlink `..data` points at it and is replaced by rename, and each visible name is a
symlink through `..data`: the layout that the kubelet gives to these volumes and that programs inside
containers watch for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.volumes.files import VolumeFile

_DATA: Final = "..data"
_NEXT_DATA: Final = "..data_tmp"
_READ_BITS: Final = 0o440
_DIRECTORY_MODE: Final = 0o755
_GROUP_DIRECTORY_MODE: Final = 0o2755


def write_volume_files(directory: Path, files: Sequence[VolumeFile], group_id: int | None = None) -> bool:
    """Makes `directory` hold exactly these files; True if anything changed. Safe after a crash at any point.

    With a `group_id` (the pod's fsGroup) the files belong to that group, which may read them.
    """
    current = _read_current(directory)
    changed = current is None or not _holds(directory / current, files, group_id)
    if changed:
        fresh = _write_payload(directory, files, group_id)
        _point_at(directory, fresh)
    _link_names(directory, {file.path.parts[0] for file in files})
    _remove_stale(directory)
    return changed


def _read_current(directory: Path) -> str | None:
    try:
        return os.readlink(directory / _DATA)
    except FileNotFoundError:
        return None


def _holds(payload: Path, files: Sequence[VolumeFile], group_id: int | None) -> bool:
    present = {path.relative_to(payload) for path in payload.rglob("*") if not path.is_dir()}
    if present != {Path(file.path) for file in files}:
        return False
    return all(_is_as_planned(payload / file.path, file, group_id) for file in files)


def _is_as_planned(path: Path, file: VolumeFile, group_id: int | None) -> bool:
    status = path.stat()
    return (
        status.st_size == len(file.content)
        and status.st_mode & 0o7777 == _file_mode(file, group_id)
        and (group_id is None or status.st_gid == group_id)
        and (file.user_id is None or status.st_uid == file.user_id)
        and path.read_bytes() == file.content
    )


def _write_payload(directory: Path, files: Sequence[VolumeFile], group_id: int | None) -> str:
    prefix = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    payload = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    _own_directory(payload, group_id)
    for file in files:
        for parent in reversed(file.path.parents[:-1]):
            if not (payload / parent).is_dir():
                (payload / parent).mkdir()
                _own_directory(payload / parent, group_id)
        _write_file(payload / file.path, file, group_id)
    return payload.name


def _write_file(path: Path, file: VolumeFile, group_id: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as target:
        target.write(file.content)
        if group_id is not None or file.user_id is not None:
            os.fchown(descriptor, _or_keep(file.user_id), _or_keep(group_id))
        # After the chown, which clears bits; and fchmod, because the process's umask must not count.
        os.fchmod(descriptor, _file_mode(file, group_id))


def _own_directory(path: Path, group_id: int | None) -> None:
    if group_id is None:
        path.chmod(_DIRECTORY_MODE)
    else:
        os.chown(path, -1, group_id)
        path.chmod(_GROUP_DIRECTORY_MODE)


def _file_mode(file: VolumeFile, group_id: int | None) -> int:
    return file.mode if group_id is None else file.mode | _READ_BITS


def _or_keep(identifier: int | None) -> int:
    return -1 if identifier is None else identifier


def _point_at(directory: Path, payload: str) -> None:
    (directory / _NEXT_DATA).unlink(missing_ok=True)
    (directory / _NEXT_DATA).symlink_to(payload)
    (directory / _NEXT_DATA).replace(directory / _DATA)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            if link.is_dir():
                link.rmdir()  # empty: made for a subPath before there was such a name
            link.symlink_to(f"{_DATA}/{name}")
    for entry in os.scandir(directory):
        if not entry.name.startswith("..") and entry.name not in names and entry.is_symlink():
            os.unlink(entry.path)


def _remove_stale(directory: Path) -> None:
    current = _read_current(directory)
    for entry in os.scandir(directory):
        if entry.name.startswith("..") and entry.name not in (_DATA, current):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
