"""Finds or makes what a volumeMount's subPath names, without ever leaving the volume.

IO: the volume's own tree; synchronous, quick on local disks. Called by `agent.pods` when it builds a
container's mounts. Symlinks inside the volume are followed only while they stay in it: containers can write
there.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SubPathRefused(Exception):
    """The subPath leaves its volume or crosses something that is no directory."""


def resolve_sub_path(volume: Path, sub_path: str) -> Path:
    """The real path below `volume`, made as directories where nothing is there yet; raises SubPathRefused,
    OSError.
    """
    relative = PurePosixPath(sub_path)
    if relative.is_absolute() or ".." in relative.parts:
        raise SubPathRefused(f"subPath {sub_path!r} must be a relative path without '..'")
    root = volume.resolve(strict=True)
    target = (root / relative).resolve()
    if not target.is_relative_to(root):
        raise SubPathRefused(f"subPath {sub_path!r} leads out of its volume through a symbolic link")
    if not target.exists():
        _make_directories(root, target.relative_to(root))
    return target


def _make_directories(root: Path, relative: Path) -> None:
    """Makes each missing directory through the descriptor of its parent: a symlink planted meanwhile is
    refused.
    """
    descriptor = os.open(root, _DIRECTORY)
    try:
        mode = os.fstat(descriptor).st_mode & 0o7777
        for name in relative.parts:
            descriptor = _enter(descriptor, name, mode)
    except NotADirectoryError as error:
        raise SubPathRefused(f"subPath {relative} crosses something that is no directory") from error
    finally:
        os.close(descriptor)


def _enter(parent: int, name: str, mode: int) -> int:
    made = False
    try:
        os.mkdir(name, dir_fd=parent)
        made = True
    except FileExistsError:
        pass
    child = os.open(name, _DIRECTORY, dir_fd=parent)
    if made:
        # The volume's own mode and owner: what may write to the volume may write to this part of it.
        owner = os.fstat(parent)
        os.fchown(child, owner.st_uid, owner.st_gid)
        os.fchmod(child, mode)
    os.close(parent)
    return child
