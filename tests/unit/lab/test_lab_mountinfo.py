"""What the lab reads out of /proc/self/mountinfo."""

from __future__ import annotations

from pathlib import Path

from lab.cgroups import parse_hierarchies
from lab.teardown import parse_mounts_below

HYBRID = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = (
    "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)


def test_a_hybrid_machine_has_v1_controllers_beside_an_empty_unified_tree() -> None:
    found = {str(hierarchy.mount_point): hierarchy for hierarchy in parse_hierarchies(HYBRID)}

    assert set(found) == {
        "/sys/fs/cgroup/cpuset",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
    }
    assert found["/sys/fs/cgroup/cpu,cpuacct"].options == {"cpu", "cpuacct"}
    assert [path for path, hierarchy in found.items() if hierarchy.unified] == ["/sys/fs/cgroup/unified"]


def test_a_v2_machine_has_one_hierarchy() -> None:
    (hierarchy,) = parse_hierarchies(UNIFIED)

    assert hierarchy.unified
    assert hierarchy.directory("/berth-lab-x/n1") == Path("/sys/fs/cgroup/berth-lab-x/n1")


def test_the_same_controllers_mounted_twice_count_once() -> None:
    again = HYBRID + "77 31 0:31 / /mnt/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"

    assert parse_hierarchies(again) == parse_hierarchies(HYBRID)


def test_mounts_below_our_directories_come_newest_first() -> None:
    mountinfo = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
50 27 0:40 / /run/berth-lab-x/n1/rootfs rw - overlay overlay rw
51 50 0:41 / /run/berth-lab-x/n1/rootfs/a\\040b rw - tmpfs tmpfs rw
52 27 0:42 / /run/berth-lab-xy/n1/rootfs rw - overlay overlay rw
"""

    assert parse_mounts_below(mountinfo, [Path("/run/berth-lab-x")]) == (
        Path("/run/berth-lab-x/n1/rootfs/a b"),
        Path("/run/berth-lab-x/n1/rootfs"),
    )
