"""The mountOptions of a persistent volume as the flags of a bind mount.

Pure. Called by `plan`. A bind mount knows only the options that every file system has. Follows mount(8),
"filesystem-independent mount options".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agent.volumes.files import VolumeRefused
from agent.volumes.mount_flags import MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_RDONLY

_FLAGS: Final[Mapping[str, int]] = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
}
_NO_FLAG: Final = frozenset({"", "rw", "suid", "dev", "exec", "defaults", "bind", "rbind"})


def compute_mount_flags(options: Iterable[str]) -> int | VolumeRefused:
    """mount(2)'s flags for these options, which may be joined by commas."""
    flags = 0
    for option in (single.strip() for text in options for single in text.split(",")):
        if option in _NO_FLAG:
            continue
        if option not in _FLAGS:
            return VolumeRefused(
                f"mount option {option!r} isn't supported by this agent; use one of {', '.join(_FLAGS)}"
            )
        flags |= _FLAGS[option]
    return flags
