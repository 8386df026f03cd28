"""What a machine must have for a lab, and what it has.

A shell that only reads. Called by `lab.runtime_node`, `lab.cluster` and `lab.agents`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.errors import LabError
from lab.processes import find_program

CNI_BIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# Program and the Debian package that has it.
_PROGRAMS = (
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
)


def require_programs() -> None:
    """A sentence about the first program that a lab needs and this machine lacks."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root; run it with sudo")
    for program, package in _PROGRAMS:
        if find_program(program) is None:
            raise LabError(f"the lab needs `{program}`; install the package {package}")
    find_cni_plugins()


def find_cni_plugins() -> Path:
    for directory in CNI_BIN_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise LabError("the lab needs the CNI plugins; install the package containernetworking-plugins")


def read_filesystem(path: Path) -> str:
    """The type of the file system below the path, as mountinfo names it."""
    best = ("", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, after.split(" ")[0])
    return best[1]
