"""Checks what a hostPath volume names, and makes it where its type says so.

IO: stat, mkdir, open; synchronous, called by `apply` in a thread, since the path may lie on a dead network
mount. A path without a type is looked at too, so that a dead mount holds up this thread and not the runtime.
Follows the "hostPath volume types" table of the Kubernetes documentation. What it finds or makes is never
removed.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kubeapi.volume import HostPathVolumeSource


class HostPathRefused(Exception):
    """The path isn't of the type that the volume asks for."""


_CHECKS: Final[Mapping[str, tuple[str, Callable[[int], bool]]]] = {
    "DirectoryOrCreate": ("a directory", stat.S_ISDIR),
    "Directory": ("a directory", stat.S_ISDIR),
    "FileOrCreate": ("a file", stat.S_ISREG),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket file", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def prepare_host_path(source: HostPathVolumeSource) -> Path:
    """The path, checked, and made if its type ends in OrCreate; raises HostPathRefused or OSError."""
    path = Path(source.path)
    if not path.is_absolute() or ".." in path.parts:
        raise HostPathRefused(f"hostPath {source.path!r} must be an absolute path without '..'")
    mode = _read_mode(path)
    if source.type == "":
        return path
    if source.type not in _CHECKS:
        raise HostPathRefused(f"{source.type} is an invalid volume type; use one of {', '.join(_CHECKS)}")
    if mode is None:
        _make(path, source.type)
        mode = _read_mode(path)
    noun, is_kind = _CHECKS[source.type]
    if mode is None or not is_kind(mode):
        raise HostPathRefused(f"hostPath type check failed: {path} is not {noun}")
    return path


def _make(path: Path, kind: str) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)


def _read_mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
