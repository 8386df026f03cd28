"""Finds or makes what a volumeMount's subPath names, and binds it to a place that containers can't reach.

IO: the volume's own tree and one bind mount; synchronous, called by `agent.pods` in a thread that `blocking`
watches over. Containers can write to volumes, and so could swap a directory for a symbolic link between our
check and the runtime's mount. Hence the path is resolved, entered component by component without following
links, and what was reached is bound, by its descriptor, below the pod's own directory: the runtime gets that.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

from agent.volumes.mounts import bind_mount, detach, is_mounted

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class SubPathRefused(Exception):
    """The subPath leaves its volume or crosses something that is no directory."""


def bind_sub_path(volume: Path, sub_path: str, target: Path) -> Path:
    """Makes `target` show the subPath of the volume, made as directories where nothing is there yet.

    Idempotent; a target that shows something else is bound anew. Raises SubPathRefused, OSError.
    """
    descriptor = open_sub_path(volume, sub_path)
    try:
        found = os.fstat(descriptor)
        if is_mounted(target):
            shown = os.stat(target)
            if (shown.st_dev, shown.st_ino) == (found.st_dev, found.st_ino):
                return target
            detach(target)
        _make_target(target, stat.S_ISDIR(found.st_mode))
        bind_mount(Path(f"/proc/self/fd/{descriptor}"), target)
    finally:
        os.close(descriptor)
    return target


def open_sub_path(volume: Path, sub_path: str) -> int:
    """A descriptor (O_PATH) of what the subPath names inside the volume; raises SubPathRefused, OSError."""
    relative = PurePosixPath(sub_path)
    if relative.is_absolute() or ".." in relative.parts:
        raise SubPathRefused(f"subPath {sub_path!r} must be a relative path without '..'")
    root = volume.resolve(strict=True)
    try:
        target = (root / relative).resolve()
    except RuntimeError as error:  # Python before 3.13, for links that lead in a circle
        raise SubPathRefused(f"subPath {sub_path!r} is a symbolic link that leads in a circle") from error
    if not target.is_relative_to(root):
        raise SubPathRefused(f"subPath {sub_path!r} leads out of its volume through a symbolic link")
    return _open_below(root, target.relative_to(root), sub_path)


def _open_below(root: Path, relative: Path, sub_path: str) -> int:
    """Each step from the descriptor of its parent: a link planted since the path was resolved is refused."""
    descriptor = os.open(root, os.O_PATH | os.O_CLOEXEC | (os.O_DIRECTORY if relative.parts else 0))
    try:
        mode = os.fstat(descriptor).st_mode & 0o7777
        for name in relative.parts[:-1]:
            descriptor = _enter(descriptor, name, mode, _DIRECTORY)
        for name in relative.parts[-1:]:
            descriptor = _enter(descriptor, name, mode, _ANYTHING)
    except NotADirectoryError as error:
        os.close(descriptor)
        raise SubPathRefused(f"subPath {sub_path!r} crosses something that is no directory") from error
    except BaseException:
        os.close(descriptor)
        raise
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SubPathRefused(f"subPath {sub_path!r} became a symbolic link while it was looked at")
    return descriptor


def _enter(parent: int, name: str, mode: int, flags: int) -> int:
    """The child's descriptor, made as a directory if nothing is there; the parent's is closed."""
    try:
        child = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        child = _make_directory(parent, name, mode)
    os.close(parent)
    return child


def _make_directory(parent: int, name: str, mode: int) -> int:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        # The volume's own mode and owner: what may write to the volume may write to this part of it.
        owner = os.fstat(parent)
        os.fchown(child, owner.st_uid, owner.st_gid)
        os.fchmod(child, mode)
    except OSError:
        os.close(child)
        raise
    return child


def _make_target(target: Path, is_directory: bool) -> None:
    """An empty place of the same kind, where nothing but our own earlier one can be."""
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if target.is_dir() != is_directory and target.exists():
        target.rmdir() if target.is_dir() else target.unlink()
    if is_directory:
        target.mkdir(mode=0o750, exist_ok=True)
    else:
        target.touch(mode=0o640)
