"""What this machine is and has: processors, memory, disk, identity, kernel.

IO: /proc, /sys, /etc and psutil; quick local reads. Called by `reporter` at each look. What follows from the
facts is decided in `status` and `conditions`.
"""

from __future__ import annotations

import os
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_OS_RELEASES: Final = (Path("/etc/os-release"), Path("/usr/lib/os-release"))


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Amounts of now; identity as long as the machine is up. `inodes_total` is 0 where the file system counts
    none.
    """

    cpus: int
    memory_total_bytes: int
    memory_available_bytes: int
    disk_total_bytes: int
    disk_available_bytes: int
    inodes_total: int
    inodes_available: int
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel_version: str
    os_image: str
    architecture: str


def is_app_armor_on(parameter: Path = Path("/sys/module/apparmor/parameters/enabled")) -> bool:
    """Whether this kernel enforces AppArmor profiles."""
    return _read_first_line(parameter) == "Y"


def read_machine_facts(root_dir: Path) -> MachineFacts:
    """The facts of this machine; disk means the file system that holds `root_dir`."""
    memory = psutil.virtual_memory()
    disk = os.statvfs(_nearest_existing(root_dir))
    return MachineFacts(
        cpus=psutil.cpu_count() or 1,
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        disk_total_bytes=disk.f_blocks * disk.f_frsize,
        disk_available_bytes=disk.f_bavail * disk.f_frsize,
        inodes_total=disk.f_files,
        inodes_available=disk.f_favail,
        machine_id=_read_first_line(Path("/etc/machine-id")),
        system_uuid=_read_first_line(Path("/sys/class/dmi/id/product_uuid")),
        boot_id=_read_first_line(Path("/proc/sys/kernel/random/boot_id")),
        kernel_version=platform.release(),
        os_image=_read_os_image(),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file. Pure; follows os-release(5)."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = " ".join(shlex.split(value))
    return found


def _read_os_image() -> str:
    path = next((path for path in _OS_RELEASES if path.exists()), None)
    if path is None:
        return platform.system()
    release = parse_os_release(path.read_text())
    return release.get("PRETTY_NAME") or release.get("NAME") or platform.system()


def _read_first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except OSError:
        return ""


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)
