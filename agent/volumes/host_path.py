"""Checks what a hostPath volume names, and makes it where its type says so.

IO: stat, mkdir, open; synchronous, called by `source` in a thread, since the path may lie on a dead network
mount. Follows the "hostPath volume types" table of the Kubernetes documentation. What it finds or makes is
never removed.
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
    "Socket": ("a socket", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def prepare_host_path(source: HostPathVolumeSource) -> Path:
    """The path, checked, and made if its type ends in OrCreate; raises HostPathRefused or OSError."""
    path = Path(source.path)
    if not path.is_absolute() or ".." in path.parts:
        raise HostPathRefused(f"hostPath {source.path!r} must be an absolute path without '..'")
    if source.type == "":
        return path
    if source.type not in _CHECKS:
        raise HostPathRefused(f"hostPath type {source.type!r} is unknown; use one of {', '.join(_CHECKS)}")
    if not path.exists():
        _make(path, source.type)
    _check(path, source.type)
    return path


def _make(path: Path, kind: str) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)


def _check(path: Path, kind: str) -> None:
    noun, is_kind = _CHECKS[kind]
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise HostPathRefused(f"hostPath type check failed: {path} does not exist") from error
    if not is_kind(mode):
        raise HostPathRefused(f"hostPath type check failed: {path} is not {noun}")
