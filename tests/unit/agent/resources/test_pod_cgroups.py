"""Which hierarchies a machine has, where a pod's cgroups lie, and that they are removed from all of them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from agent.resources.cgroup import (
    CgroupDriver,
    CgroupFacts,
    CgroupMode,
    Hierarchy,
    build_pod_cgroup_parent,
    build_pod_cgroup_paths,
    parse_cgroup_facts,
)
from agent.resources.pod_cgroups import CgroupBusy, PodCgroups
from agent.resources.qos import QOSClass
from kubeapi.pod import PodUID

UID = PodUID("1-2")
_V2 = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
_V1 = (
    "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)
_HYBRID = _V1 + "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def test_v2() -> None:
    assert parse_cgroup_facts(_V2) == CgroupFacts(CgroupMode.V2, (Hierarchy(Path("/sys/fs/cgroup"), 2),))


def test_v1() -> None:
    facts = parse_cgroup_facts(_V1)
    assert facts.mode is CgroupMode.V1
    assert [hierarchy.controllers for hierarchy in facts.hierarchies] == [
        ("cpu", "cpuacct"),
        ("name=systemd",),
    ]


def test_hybrid_and_none() -> None:
    assert parse_cgroup_facts(_HYBRID).mode is CgroupMode.HYBRID
    assert parse_cgroup_facts("22 1 0:21 / / rw - ext4 /dev/vda rw\n") == CgroupFacts(CgroupMode.NONE, ())


def test_a_hierarchy_that_is_mounted_twice_counts_once() -> None:
    again = "40 24 0:27 / /mnt/cgroup rw - cgroup2 cgroup2 rw\n"
    assert parse_cgroup_facts(_V2 + again).hierarchies == (Hierarchy(Path("/sys/fs/cgroup"), 2),)


@pytest.mark.parametrize(
    ("qos", "root", "driver", "expected"),
    [
        (QOSClass.GUARANTEED, "/", CgroupDriver.CGROUPFS, "/kubepods/pod1-2"),
        (QOSClass.BURSTABLE, "/", CgroupDriver.CGROUPFS, "/kubepods/burstable/pod1-2"),
        (QOSClass.BEST_EFFORT, "/lab/n1", CgroupDriver.CGROUPFS, "/lab/n1/kubepods/besteffort/pod1-2"),
        (QOSClass.BURSTABLE, "/", CgroupDriver.SYSTEMD, "kubepods-burstable-pod1_2.slice"),
        (QOSClass.GUARANTEED, "/", CgroupDriver.SYSTEMD, "kubepods-pod1_2.slice"),
    ],
)
def test_cgroup_parent(qos: QOSClass, root: str, driver: CgroupDriver, expected: str) -> None:
    assert build_pod_cgroup_parent(UID, qos, root, driver) == expected


def test_slices_nest() -> None:
    nested = PurePosixPath("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice")
    assert nested in build_pod_cgroup_paths(UID, "/", CgroupDriver.SYSTEMD)


async def test_removes_the_pods_cgroups_everywhere_and_no_others(tmp_path: Path) -> None:
    facts = CgroupFacts(CgroupMode.V1, (Hierarchy(tmp_path / "cpu", 1), Hierarchy(tmp_path / "memory", 1)))
    mine = [tmp_path / name / "kubepods/burstable/pod1-2/container" for name in ("cpu", "memory")]
    other = tmp_path / "cpu/kubepods/burstable/pod9"
    for directory in (*mine, other):
        directory.mkdir(parents=True)
    cgroups = PodCgroups(facts)
    await cgroups.remove_pod_cgroups(UID)
    await cgroups.remove_pod_cgroups(UID)
    assert [directory.parent.exists() for directory in mine] == [False, False]
    assert other.exists()


async def test_a_cgroup_in_use_is_named_and_the_rest_is_removed(tmp_path: Path) -> None:
    facts = CgroupFacts(CgroupMode.V1, (Hierarchy(tmp_path / "cpu", 1), Hierarchy(tmp_path / "memory", 1)))
    busy, free = (tmp_path / name / "kubepods/pod1-2" for name in ("cpu", "memory"))
    for directory in (busy, free):
        directory.mkdir(parents=True)
    (busy / "file").touch()  # rmdir refuses, as it does for a cgroup with processes
    with pytest.raises(CgroupBusy, match=str(busy)):
        await PodCgroups(facts).remove_pod_cgroups(UID)
    assert not free.exists()


async def test_the_processes_of_a_container_are_found_by_its_id(tmp_path: Path) -> None:
    facts = CgroupFacts(CgroupMode.HYBRID, (Hierarchy(tmp_path / "none", 1), Hierarchy(tmp_path / "v2", 2)))
    pod_directory = tmp_path / "v2/kubepods/burstable/pod1-2"
    for name, process in {"crio-abc": 11, "crio-abc/nested": 12, "crio-conmon-abc": 13, "def": 14}.items():
        (pod_directory / name).mkdir(parents=True, exist_ok=True)
        (pod_directory / name / "cgroup.procs").write_text(f"{process}\n0\n")
    cgroups = PodCgroups(facts)
    assert cgroups.list_container_processes(UID, "abc") == {11, 12}
    assert cgroups.list_container_processes(UID, "xyz") == frozenset()
