"""Makes, limits and removes the cgroups of pods, in every hierarchy.

IO: directories and files below the cgroup mounts, in a thread. Called before a pod's sandbox is made, when
its resources change, and at its teardown after the sandbox is gone. Where the cgroups lie is `cgroup`'s
knowledge, what they hold `pod_limits`'; those of containers, inside them, are the runtime's work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from agent.resources.cgroup import (
    CgroupDriver,
    CgroupFacts,
    CgroupMode,
    Hierarchy,
    build_pod_cgroup_path,
    build_pod_cgroup_paths,
    parse_cgroup_facts,
)
from agent.resources.pod_limits import (
    CgroupSetting,
    PodLimits,
    find_memory_conflict,
    list_settings,
    list_weight_settings,
)
from agent.resources.qos import QOSClass
from kubeapi.pod import PodUID

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_KILL_SECONDS: Final = 2.0
_V2_CONTROLLERS: Final = "+cpu +memory"


class CgroupBusy(Exception):
    """A pod's cgroup can't be removed or made smaller yet; the sentence says why."""


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

    async def limit_pod_cgroup(self, uid: PodUID, qos: QOSClass, limits: PodLimits) -> None:
        """The pod's cgroup, made where it isn't there yet, with these limits; idempotent. Raises CgroupBusy
        where the pod uses more memory than it would be left with.
        """
        path = build_pod_cgroup_path(uid, qos, self._root, self._driver)
        await asyncio.to_thread(self._apply, path, lambda hierarchy: list_settings(limits, hierarchy))

    async def limit_tiers(self, shares: Mapping[QOSClass, int]) -> None:
        """The CPU shares of the cgroups that hold all pods of a class."""
        for qos, amount in shares.items():
            tier = build_pod_cgroup_path(PodUID(""), qos, self._root, self._driver).parent
            settings = partial(list_weight_settings, amount)
            await asyncio.to_thread(self._apply, tier, settings)

    def _apply(self, path: PurePosixPath, list_for: Callable[[Hierarchy], tuple[CgroupSetting, ...]]) -> None:
        for hierarchy in self._facts.hierarchies:
            settings = list_for(hierarchy)
            # In a hybrid, the v2 tree has no controllers.
            if not settings or (hierarchy.version == 2 and self._facts.mode is CgroupMode.HYBRID):
                continue
            _make_cgroup(hierarchy, path)
            for setting in settings:
                _write_setting(hierarchy.mount_point / path, setting)

    def list_container_processes(self, uid: PodUID, container_id: str) -> frozenset[int]:
        """The processes in the container's own cgroup and below it; reads a few files of the kernel's."""
        paths = build_pod_cgroup_paths(uid, self._root, self._driver)
        for hierarchy in self._facts.hierarchies:
            for path in paths:
                directory = hierarchy.mount_point / path
                # cri-containerd-<id>.scope and the like; crio-conmon-<id> isn't the container itself.
                found = [d for d in directory.glob(f"*{container_id}*") if "conmon" not in d.name]
                if found:
                    return frozenset(process for d in found for process in _list_processes(d))
        return frozenset()

    async def remove_pod_cgroups(self, uid: PodUID) -> None:
        """Ends what still runs in the pod's cgroup and removes it with all below it, in every hierarchy;
        raises CgroupBusy while a process won't go.
        """
        paths = build_pod_cgroup_paths(uid, self._root, self._driver)
        mounts = [hierarchy.mount_point for hierarchy in self._facts.hierarchies]
        await asyncio.to_thread(_remove_all, [mount / path for mount in mounts for path in paths])


def _make_cgroup(hierarchy: Hierarchy, path: PurePosixPath) -> None:
    """On v2, each level hands the controllers on to the next one."""
    directory = hierarchy.mount_point
    for part in path.parts:
        if hierarchy.version == 2:
            (directory / "cgroup.subtree_control").write_text(_V2_CONTROLLERS)
        directory /= part
        directory.mkdir(exist_ok=True)


def _write_setting(directory: Path, setting: CgroupSetting) -> None:
    file = directory / setting.file
    if file.exists() and file.read_text().strip() == setting.value:
        return
    if setting.limit_bytes is not None:
        conflict = find_memory_conflict(setting, (directory / setting.usage_file).read_text())
        if conflict is not None:
            raise CgroupBusy(conflict)
    file.write_text(setting.value)


def _remove_all(directories: list[Path]) -> None:
    """A runtime that was cut short may have left a process behind, which nobody else would ever end."""
    _end_processes({process for directory in directories for process in _list_processes(directory)})
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


def _list_processes(directory: Path) -> Iterator[int]:
    for file in directory.rglob("cgroup.procs"):
        try:
            lines = file.read_text().split()
        except OSError:
            continue  # it went meanwhile
        # 0 is a process of another pid namespace.
        yield from (process for line in lines if (process := int(line)) > 1)


def _end_processes(processes: set[int]) -> None:
    """SIGKILL, and a short wait until the kernel says that they have ended."""
    poll = select.poll()
    handles: dict[int, int] = {}
    try:
        for process in processes:
            try:
                handle = os.pidfd_open(process)
            except ProcessLookupError:
                continue
            handles[handle] = process
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            poll.register(handle, select.POLLIN)
        deadline = time.monotonic() + _KILL_SECONDS
        waiting = set(handles)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for handle, _ in poll.poll(left * 1000):
                poll.unregister(handle)
                waiting.discard(handle)
    finally:
        for handle in handles:
            os.close(handle)


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
