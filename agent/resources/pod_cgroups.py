"""Removes what is left of a pod's cgroups, in every hierarchy.

IO: directories below the cgroup mounts, in a thread. Called at a pod's teardown, after its sandbox is gone.
Where the cgroups lie is `cgroup`'s knowledge; making and limiting them is the runtime's work.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from agent.resources.cgroup import CgroupDriver, CgroupFacts, build_pod_cgroup_paths, parse_cgroup_facts
from kubeapi.pod import PodUID

_MOUNTINFO: Final = Path("/proc/self/mountinfo")


class CgroupBusy(Exception):
    """A pod's cgroup can't be removed yet; the sentence names the directory and why."""


def read_cgroup_facts(mountinfo: Path = _MOUNTINFO) -> CgroupFacts:
    """The hierarchies mounted on this machine now."""
    return parse_cgroup_facts(mountinfo.read_text())


class PodCgroups:
    """The cgroups of this node's pods; an absent cgroup is a removed one."""

    def __init__(
        self, facts: CgroupFacts, cgroup_root: str = "/", driver: CgroupDriver = CgroupDriver.CGROUPFS
    ) -> None:
        self._facts = facts
        self._root = cgroup_root
        self._driver = driver

    async def remove_pod_cgroups(self, uid: PodUID) -> None:
        """Removes the pod's cgroup and all below it, in every hierarchy; raises CgroupBusy while one has
        processes.
        """
        paths = build_pod_cgroup_paths(uid, self._root, self._driver)
        mounts = [hierarchy.mount_point for hierarchy in self._facts.hierarchies]
        await asyncio.to_thread(_remove_all, [mount / path for mount in mounts for path in paths])


def _remove_all(directories: list[Path]) -> None:
    blocked: OSError | None = None
    for directory in directories:
        try:
            _remove_cgroup(directory)
        except OSError as error:
            blocked = error
    if blocked is not None:
        raise CgroupBusy(
            f"the cgroup {blocked.filename} is still in use ({blocked.strerror}); end its processes"
        ) from blocked


def _remove_cgroup(directory: Path) -> None:
    # rmdir alone: the files inside a cgroup are the kernel's and vanish with the directory.
    try:
        children = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for child in children:
        _remove_cgroup(Path(child))
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
