"""Which cgroup hierarchies a machine has and where a pod's cgroups lie in them.

Pure: the text of /proc/self/mountinfo arrives as an argument. Called by `agent.pods` (the sandbox's cgroup
parent) and by `pod_cgroups`, which removes them. Follows proc(5), cgroups(7) and the kubelet's names for both
drivers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Final

from agent.resources.qos import QOSClass
from kubeapi.pod import PodUID


class CgroupMode(Enum):
    """v1 alone, v2 alone, or controllers in v1 beside a v2 tree without them (hybrid)."""

    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


class CgroupDriver(Enum):
    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy; `controllers` is empty for v2 and holds `name=systemd` and the like for v1."""

    mount_point: Path
    version: int
    controllers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CgroupFacts:
    mode: CgroupMode
    hierarchies: tuple[Hierarchy, ...]


# Per-mount and superblock options that are no controllers.
_MOUNT_OPTIONS: Final = frozenset(
    {"rw", "ro", "noprefix", "clone_children", "cpuset_v2_mode", "xattr", "release_agent", "none"}
)


def parse_cgroup_facts(mountinfo: str) -> CgroupFacts:
    """The hierarchies named in the text of /proc/self/mountinfo, each once, in the order of mounting."""
    seen: dict[tuple[int, tuple[str, ...]], Hierarchy] = {}
    for hierarchy in _parse_hierarchies(mountinfo):
        seen.setdefault((hierarchy.version, hierarchy.controllers), hierarchy)
    hierarchies = tuple(seen.values())
    versions = {hierarchy.version for hierarchy in hierarchies}
    mode = {
        frozenset(): CgroupMode.NONE,
        frozenset({1}): CgroupMode.V1,
        frozenset({2}): CgroupMode.V2,
        frozenset({1, 2}): CgroupMode.HYBRID,
    }[frozenset(versions)]
    return CgroupFacts(mode, hierarchies)


def build_pod_cgroup_parent(
    uid: PodUID, qos: QOSClass, cgroup_root: str = "/", driver: CgroupDriver = CgroupDriver.CGROUPFS
) -> str:
    """What CRI takes as `cgroup_parent`: an absolute path (cgroupfs) or a slice's name (systemd)."""
    tier = "" if qos is QOSClass.GUARANTEED else qos.value.lower()
    match driver:
        case CgroupDriver.CGROUPFS:
            return str(PurePosixPath("/", cgroup_root.lstrip("/"), "kubepods", tier, f"pod{uid}"))
        case CgroupDriver.SYSTEMD:
            parts = [part for part in ("kubepods", tier, f"pod{uid.replace('-', '_')}") if part]
            return "-".join(parts) + ".slice"


def build_pod_cgroup_path(
    uid: PodUID, qos: QOSClass, cgroup_root: str = "/", driver: CgroupDriver = CgroupDriver.CGROUPFS
) -> PurePosixPath:
    """Where the pod's cgroup lies below a hierarchy's mount point."""
    parent = build_pod_cgroup_parent(uid, qos, cgroup_root, driver)
    match driver:
        case CgroupDriver.CGROUPFS:
            return PurePosixPath(parent.lstrip("/"))
        case CgroupDriver.SYSTEMD:
            return PurePosixPath(cgroup_root.lstrip("/")) / _slice_path(parent)


def build_pod_cgroup_paths(
    uid: PodUID, cgroup_root: str = "/", driver: CgroupDriver = CgroupDriver.CGROUPFS
) -> tuple[PurePosixPath, ...]:
    """Where the pod's cgroup may be, one path for each QoS class."""
    return tuple(build_pod_cgroup_path(uid, qos, cgroup_root, driver) for qos in QOSClass)


def _parse_hierarchies(mountinfo: str) -> Iterator[Hierarchy]:
    for line in mountinfo.splitlines():
        left, found, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if not found or len(before) < 5 or not after:
            continue
        mount_point = Path(_unescape(before[4]))
        if after[0] == "cgroup2":
            yield Hierarchy(mount_point, 2)
        elif after[0] == "cgroup" and len(after) >= 3:
            yield Hierarchy(mount_point, 1, _parse_controllers(after[2]))


def _parse_controllers(super_options: str) -> tuple[str, ...]:
    names = (option for option in super_options.split(",") if option.partition("=")[0] not in _MOUNT_OPTIONS)
    return tuple(sorted(names))


def _slice_path(name: str) -> PurePosixPath:
    """systemd nests slices by the dashes in their names: a-b.slice lies in a.slice."""
    parts = name.removesuffix(".slice").split("-")
    return PurePosixPath(*("-".join(parts[: count + 1]) + ".slice" for count in range(len(parts))))


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    return field.encode().decode("unicode_escape").encode("latin-1").decode() if "\\" in field else field
