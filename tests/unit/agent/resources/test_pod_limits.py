"""The numbers of a pod's own cgroup, and the files they go to in v1, v2 and both."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from agent.resources.cgroup import CgroupFacts, CgroupMode, Hierarchy
from agent.resources.pod_cgroups import CgroupBusy, PodCgroups
from agent.resources.pod_limits import PodLimits, compute_pod_limits, compute_tier_shares, list_settings
from agent.resources.qos import QOSClass, compute_cpu_weight
from agent.resources.qos_tiers import QosTiers
from agent.resources.requests import compute_pod_limit, compute_pod_request, list_requested
from kubeapi.pod import Container, Pod, PodUID, ResourceRequirements
from tests import builders

UID = PodUID("1-2")
MIB = 1 << 20


def sized(name: str, cpu: str = "", limit: str = "", policy: str | None = None) -> Container:
    requests = {"cpu": cpu} if cpu else {}
    limits = {"cpu": limit} if limit else {}
    resources = ResourceRequirements(requests=requests, limits=limits)
    return builders.container(name, resources=resources, restart_policy=policy)


def pod_of(*containers: Container, inits: tuple[Container, ...] = (), **spec: object) -> Pod:
    return builders.pod(spec={"containers": containers, "init_containers": inits, **spec})


# --- what a pod holds ---------------------------------------------------------------------------------------


def test_containers_add_up() -> None:
    pod = pod_of(sized("a", "100m", "1"), sized("b", "200m", "2"))
    assert compute_pod_request(pod, "cpu") == 300
    assert compute_pod_limit(pod, "cpu") == 3000


def test_a_limit_alone_is_a_request_too() -> None:
    assert compute_pod_request(pod_of(sized("a", limit="1")), "cpu") == 1000


def test_one_container_without_a_limit_leaves_the_pod_without_one() -> None:
    assert compute_pod_limit(pod_of(sized("a", "1", "1"), sized("b", "1")), "cpu") is None
    assert compute_pod_limit(pod_of(sized("a", "1", "1"), inits=(sized("i", "1"),)), "cpu") is None


def test_init_containers_count_with_the_sidecars_before_them() -> None:
    inits = (sized("s1", "1", policy="Always"), sized("i", "3"), sized("s2", "1", policy="Always"))
    assert compute_pod_request(pod_of(sized("a", "1"), inits=inits), "cpu") == 4000
    assert compute_pod_request(pod_of(sized("a", "5"), inits=inits), "cpu") == 7000


def test_the_pods_own_resources_count_instead_and_the_overhead_always() -> None:
    own = ResourceRequirements(requests={"cpu": "3"}, limits={"cpu": "4"})
    pod = pod_of(sized("a", "1"), resources=own, overhead={"cpu": "250m"})
    assert compute_pod_request(pod, "cpu") == 3250
    assert compute_pod_limit(pod, "cpu") == 4250


def test_requested_resources_are_named_once_cpu_and_memory_first() -> None:
    odd = ResourceRequirements(requests={"x/y": "1", "memory": "1", "cpu": "1"}, limits={"x/y": "1"})
    assert list_requested(pod_of(builders.container(resources=odd))) == ("cpu", "memory", "x/y")


# --- the numbers --------------------------------------------------------------------------------------------


def test_a_pod_without_requests_has_the_least_weight() -> None:
    assert compute_pod_limits(pod_of(sized("a"))) == PodLimits(2)


def test_a_pod_whose_containers_all_have_limits_has_them_too() -> None:
    assert compute_pod_limits(pod_of(sized("a", "100m", "1"))) == PodLimits(102, 100_000)
    assert compute_pod_limits(pod_of(sized("a", "100m", "1"), sized("b"))) == PodLimits(102)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000)])
def test_weights_on_v2(shares: int, weight: int) -> None:
    assert compute_cpu_weight(shares) == weight


# --- the files ----------------------------------------------------------------------------------------------

LIMITS = PodLimits(204, 20_000, 64 * MIB)
PATH = "kubepods/burstable/pod1-2"


def v1(root: Path) -> CgroupFacts:
    cpu, memory, freezer = root / "cpu", root / "memory", root / "freezer"
    for mount in (cpu, memory, freezer):
        mount.mkdir(parents=True)
    hierarchies = (
        Hierarchy(cpu, 1, ("cpu", "cpuacct")),
        Hierarchy(memory, 1, ("memory",)),
        Hierarchy(freezer, 1, ("freezer",)),
    )
    return CgroupFacts(CgroupMode.V1, hierarchies)


def read(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.iterdir() if file.is_file()}


async def test_v1_has_the_numbers_in_the_hierarchies_of_their_controllers(tmp_path: Path) -> None:
    await PodCgroups(v1(tmp_path)).limit_pod_cgroup(UID, QOSClass.BURSTABLE, PodLimits(204, 20_000))
    assert read(tmp_path / "cpu" / PATH) == {
        "cpu.shares": "204",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "20000",
    }
    assert not (tmp_path / "freezer" / PATH).exists()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """The memory cgroup of a pod that uses 40 MiB; its files are the kernel's to make."""
    directory = tmp_path / "memory" / PATH
    directory.mkdir(parents=True)
    (directory / "memory.usage_in_bytes").write_text(f"{40 * MIB}\n")
    (directory / "memory.limit_in_bytes").write_text(f"{128 * MIB}\n")
    return directory


def memory_of(memory: Path) -> PodCgroups:
    mount = Path(str(memory).removesuffix(f"/{PATH}"))
    return PodCgroups(CgroupFacts(CgroupMode.V1, (Hierarchy(mount, 1, ("memory",)),)))


async def test_memory_is_taken_down_to_what_is_in_use_and_no_further(memory: Path) -> None:
    cgroups = memory_of(memory)
    with pytest.raises(CgroupBusy, match="below current usage"):
        await cgroups.limit_pod_cgroup(UID, QOSClass.BURSTABLE, PodLimits(2, None, 40 * MIB))
    assert read(memory)["memory.limit_in_bytes"] == f"{128 * MIB}\n"
    await cgroups.limit_pod_cgroup(UID, QOSClass.BURSTABLE, PodLimits(2, None, 64 * MIB))
    assert read(memory)["memory.limit_in_bytes"] == str(64 * MIB)


async def test_a_limit_that_is_there_already_is_never_refused(memory: Path) -> None:
    (memory / "memory.usage_in_bytes").write_text(f"{128 * MIB}\n")
    await memory_of(memory).limit_pod_cgroup(UID, QOSClass.BURSTABLE, PodLimits(2, None, 128 * MIB))


async def test_v2_hands_its_controllers_down_to_the_pod(tmp_path: Path) -> None:
    facts = CgroupFacts(CgroupMode.V2, (Hierarchy(tmp_path, 2),))
    await PodCgroups(facts).limit_pod_cgroup(UID, QOSClass.BURSTABLE, PodLimits(204, 20_000))
    written = read(tmp_path / PATH)
    assert written == {"cpu.weight": "8", "cpu.max": "20000 100000", "memory.max": "max"}
    for level in (tmp_path, tmp_path / "kubepods", tmp_path / "kubepods" / "burstable"):
        assert read(level) == {"cgroup.subtree_control": "+cpu +memory"}


async def test_in_a_hybrid_the_v2_tree_is_left_alone(tmp_path: Path) -> None:
    unified = tmp_path / "unified"
    unified.mkdir()
    facts = CgroupFacts(CgroupMode.HYBRID, (*v1(tmp_path).hierarchies[:1], Hierarchy(unified, 2)))
    await PodCgroups(facts).limit_pod_cgroup(UID, QOSClass.GUARANTEED, LIMITS)
    assert (tmp_path / "cpu" / "kubepods" / "pod1-2" / "cpu.shares").exists()
    assert list(unified.iterdir()) == []


def test_no_limit_is_named_as_each_hierarchy_names_it() -> None:
    bare = PodLimits(2)
    found = {s.file: s.value for s in list_settings(bare, Hierarchy(Path("/x"), 1, ("cpu", "memory")))}
    assert (found["cpu.cfs_quota_us"], found["memory.limit_in_bytes"]) == ("-1", "-1")
    found = {s.file: s.value for s in list_settings(bare, Hierarchy(Path("/x"), 2))}
    assert (found["cpu.max"], found["memory.max"]) == ("max 100000", "max")


async def test_what_a_cut_off_start_left_behind_is_ended(tmp_path: Path) -> None:
    left = await asyncio.create_subprocess_exec("sleep", "60")
    directory = tmp_path / "cpu" / PATH / "container"
    directory.mkdir(parents=True)
    # The kernel's file can be read and not removed; here the removal fails, but nothing runs any more.
    (directory / "cgroup.procs").write_text(f"0\n{left.pid}\n999999999\n")
    cgroups = PodCgroups(CgroupFacts(CgroupMode.V1, (Hierarchy(tmp_path / "cpu", 1, ("cpu",)),)))
    with pytest.raises(CgroupBusy):
        await cgroups.remove_pod_cgroups(UID)
    assert await asyncio.wait_for(left.wait(), 5) == -signal.SIGKILL


# --- the QoS tiers ------------------------------------------------------------------------------------------


def test_burstable_pods_weigh_what_they_request_together_and_best_effort_ones_nothing() -> None:
    ended = builders.pod("e", spec={"containers": (sized("a", "4"),)}, status={"phase": "Succeeded"})
    pods = (pod_of(sized("a", "500m")), pod_of(sized("b", "1")), pod_of(sized("c")), ended)
    assert compute_tier_shares(pods) == {QOSClass.BURSTABLE: 1536, QOSClass.BEST_EFFORT: 2}


async def test_the_tiers_weights_are_written_and_follow_the_pods(tmp_path: Path) -> None:
    pods = [pod_of(sized("a", "500m"))]
    tiers = QosTiers(PodCgroups(v1(tmp_path)), lambda: pods)
    kubepods = tmp_path / "cpu" / "kubepods"
    for expected in ("512", "1536"):
        await tiers.write()
        assert read(kubepods / "burstable") == {"cpu.shares": expected}
        assert read(kubepods / "besteffort") == {"cpu.shares": "2"}
        pods.append(pod_of(sized("b", "1")))


async def test_weights_that_cant_be_written_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = v1(tmp_path)
    (tmp_path / "cpu" / "kubepods").write_text("no directory")
    tiers = QosTiers(PodCgroups(facts), tuple)
    for _ in range(3):
        await tiers.write()
    assert len(caplog.records) == 1
