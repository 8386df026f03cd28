"""The lab's cgroups, in every hierarchy that is mounted: v1 controllers, a pure v2 tree, or both.

A shell over cgroupfs; `parse_hierarchies` is pure. Paths are absolute inside a hierarchy ("/berth-lab-x/n1").
Called by `lab.processes` for where a program lives and by `lab.teardown`. What happens below a node's
`kubepods` is the agent's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

log = logging.getLogger(__name__)

_REMOVAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Hierarchy:
    mount_point: Path
    unified: bool
    options: frozenset[str]  # with v1: the controllers among them

    def directory(self, cgroup: str) -> Path:
        return self.mount_point / cgroup.lstrip("/")


def parse_hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies in the text of /proc/self/mountinfo; the same controllers mounted twice count once."""
    found: dict[tuple[bool, frozenset[str]], Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        filesystem, _, options = after.split(" ", 2)
        if filesystem in ("cgroup", "cgroup2"):
            kinds = frozenset(options.split(",")) - {"rw", "ro"}
            unified = filesystem == "cgroup2"
            key = (unified, frozenset() if unified else kinds)
            found.setdefault(key, Hierarchy(Path(before.split(" ")[4]), unified, kinds))
    return tuple(found.values())


def read_hierarchies() -> tuple[Hierarchy, ...]:
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text())


def create_cgroup(cgroup: str) -> tuple[Path, ...]:
    """Makes the cgroup and its ancestors everywhere, fit for processes; returns their cgroup.procs files."""
    hierarchies = read_hierarchies()
    if not hierarchies:
        raise LabError(
            "no cgroup hierarchy is mounted here, so containers can't run; mount /sys/fs/cgroup first"
        )
    for hierarchy in hierarchies:
        parts = cgroup.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            directory = hierarchy.directory("/".join(parts[:depth]))
            if hierarchy.unified:
                _delegate_controllers(directory.parent)
            directory.mkdir(exist_ok=True)
            if "cpuset" in hierarchy.options and not hierarchy.unified:
                _inherit_cpuset(directory)
    return tuple(hierarchy.directory(cgroup) / "cgroup.procs" for hierarchy in hierarchies)


def read_pids(cgroup: str) -> frozenset[int]:
    """Every process in the cgroup or below it, in any hierarchy."""
    return frozenset(pid for directory in _directories(cgroup) for pid in _read_procs(directory))


def thaw(cgroup: str) -> None:
    """Lets frozen processes go on, for they don't even die (runc freezes v1 containers to signal them)."""
    for directory in _directories(cgroup):
        state = directory / "freezer.state"
        with contextlib.suppress(OSError):
            if state.exists() and state.read_text().strip() != "THAWED":
                state.write_text("THAWED")


def remove_cgroup(cgroup: str) -> None:
    """Removes the empty cgroup and all below it; waits a moment for processes that are just dying."""
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while left := _remove_directories(_directories(cgroup)):
        if time.monotonic() > deadline:
            raise LabError(f"the cgroup {left} can't be removed: a process in it doesn't die")
        time.sleep(0.02)  # v1 has no event for "empty now"


def list_cgroups() -> Iterator[str]:
    """Every cgroup of every hierarchy, as a path in the file system."""
    for hierarchy in read_hierarchies():
        for directory, _, _ in os.walk(hierarchy.mount_point):
            yield directory


def _directories(cgroup: str) -> list[Path]:
    """All directories at and below the cgroup, children before their parents."""
    found: list[Path] = []
    for hierarchy in read_hierarchies():
        for directory, _, _ in os.walk(hierarchy.directory(cgroup), topdown=False):
            found.append(Path(directory))
    return found


def _remove_directories(directories: Iterable[Path]) -> Path | None:
    """The first that is still in use, or None."""
    busy = None
    for directory in directories:
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            busy = busy or directory
    return busy


def _read_procs(directory: Path) -> tuple[int, ...]:
    try:
        return tuple(int(line) for line in (directory / "cgroup.procs").read_text().split())
    except OSError:  # removed meanwhile, or a threaded cgroup
        return ()


def _inherit_cpuset(directory: Path) -> None:
    """A new v1 cpuset is empty, and takes no process until it has CPUs and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = directory / name
        if not own.read_text().strip():
            own.write_text((directory.parent / name).read_text())


def _delegate_controllers(directory: Path) -> None:
    wanted = (directory / "cgroup.controllers").read_text().split()
    given = (directory / "cgroup.subtree_control").read_text().split()
    for controller in wanted:
        if controller in given:
            continue
        try:
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.ENOTSUP):
                raise
            log.warning(
                "a cgroup controller can't be delegated",
                extra={"cgroup": str(directory), "controller": controller, "error": str(error)},
            )
