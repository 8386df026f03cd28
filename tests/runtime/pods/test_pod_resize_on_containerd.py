"""In-place resize on real containerd, seen where it counts: in the kernel's cgroup files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.pods.ports import ContainerID
from agent.resources.cgroup import CgroupMode
from agent.resources.pod_cgroups import read_cgroup_facts
from agent.resources.qos import compute_cpu_shares, compute_cpu_weight
from kubeapi.meta import Condition, ObjectKey
from kubeapi.pod import ContainerResizePolicy, ContainerStatus, PodUID, ResourceRequirements
from tests import builders
from tests.runtime.pods.conftest import FOREVER, PodHost, new_pod

MIB = 1 << 20
FACTS = read_cgroup_facts()


def sized(cpu: str, memory: str) -> ResourceRequirements:
    return ResourceRequirements(
        requests={"cpu": cpu, "memory": memory}, limits={"cpu": cpu, "memory": memory}
    )


SMALL, BIG = sized("200m", "64Mi"), sized("400m", "128Mi")


@dataclass(frozen=True)
class Numbers:
    """What a cgroup holds its processes to; `shares` in v1's unit, or v2's weight."""

    shares: int
    quota: int
    memory: int


def expected(millicores: int, mebibytes: int) -> Numbers:
    shares = compute_cpu_shares(millicores)
    weight = compute_cpu_weight(shares) if FACTS.mode is CgroupMode.V2 else shares
    return Numbers(weight, millicores * 100, mebibytes * MIB)


def _cgroups(host: PodHost, uid: PodUID) -> Iterator[Path]:
    for hierarchy in FACTS.hierarchies:
        kubepods = hierarchy.mount_point / host.node.cgroup_root.lstrip("/") / "kubepods"
        yield from (path for path in kubepods.rglob(f"pod{uid}") if path.is_dir())


def read_numbers(host: PodHost, uid: PodUID, container: str = "") -> Numbers:
    """Of the pod's own cgroup, or of one container's in it."""
    found: dict[str, str] = {}
    for directory in _cgroups(host, uid):
        for file in (directory / container).iterdir():
            if file.name in ("cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes"):
                found[file.name] = file.read_text()
            if file.name in ("cpu.weight", "cpu.max", "memory.max"):
                found[file.name] = file.read_text().split()[0]
    if FACTS.mode is CgroupMode.V2:
        return Numbers(int(found["cpu.weight"]), int(found["cpu.max"]), int(found["memory.max"]))
    return Numbers(
        int(found["cpu.shares"]), int(found["cpu.cfs_quota_us"]), int(found["memory.limit_in_bytes"])
    )


def container_id(host: PodHost, uid: PodUID) -> ContainerID:
    handle = host.lanes.find_container(ObjectKey("default", "web"), uid, "main", previous=False)
    assert handle is not None
    return handle.container_id


def main_status(host: PodHost, uid: PodUID) -> ContainerStatus:
    return host.status(uid).container_statuses[0]


def conditions(host: PodHost, uid: PodUID) -> Mapping[str, Condition]:
    """Those that a resize sets."""
    return {each.type: each for each in host.status(uid).conditions if each.type.startswith("PodResize")}


def has(host: PodHost, uid: PodUID, resources: ResourceRequirements) -> bool:
    """Whether the resize is through, as the API shows it."""
    status = main_status(host, uid)
    return (
        status.resources == resources
        and status.allocated_resources == resources.requests
        and not conditions(host, uid)
    )


async def start(host: PodHost, resources: ResourceRequirements, *command: str, **container: Any) -> PodUID:
    uid = host.create(new_pod(*command, FOREVER, container={"resources": resources, **container}))
    await host.wait(lambda: host.is_ready(uid))
    return uid


async def test_a_pod_starts_with_its_own_numbers_and_its_containers(host: PodHost) -> None:
    uid = await start(host, SMALL)
    assert read_numbers(host, uid) == expected(200, 64)
    assert read_numbers(host, uid, container_id(host, uid)) == expected(200, 64)
    assert has(host, uid, SMALL)


async def test_cpu_and_memory_go_up_and_down_without_a_restart(host: PodHost) -> None:
    uid = await start(host, SMALL)
    before = container_id(host, uid)
    for resources, numbers in ((BIG, expected(400, 128)), (SMALL, expected(200, 64))):
        host.resize(uid, main=resources)
        await host.wait(partial(has, host, uid, resources))
        assert read_numbers(host, uid, before) == numbers
        assert read_numbers(host, uid) == numbers
    assert container_id(host, uid) == before
    assert main_status(host, uid).restart_count == 0
    reasons = [event.reason for event in host.events.events if event.reason.startswith("Resize")]
    assert reasons == ["ResizeStarted", "ResizeCompleted"] * 2


async def test_a_resize_shows_itself_while_it_goes_on(host: PodHost) -> None:
    uid = await start(host, SMALL)
    host.resize(uid, main=BIG)
    await host.wait(lambda: has(host, uid, BIG))
    shown = [
        condition
        for status in host.api.history[uid]
        for condition in status["conditions"]
        if condition["type"] == "PodResizeInProgress"
    ]
    assert shown
    assert {condition["status"] for condition in shown} == {"True"}


async def test_a_policy_that_asks_for_it_restarts_the_container_once(host: PodHost) -> None:
    policy = ContainerResizePolicy(resource_name="memory", restart_policy="RestartContainer")
    uid = await start(host, SMALL, resize_policy=(policy,))
    before = container_id(host, uid)
    host.resize(uid, main=sized("300m", "64Mi"))
    await host.wait(lambda: has(host, uid, sized("300m", "64Mi")))
    assert container_id(host, uid) == before
    host.resize(uid, main=BIG)
    await host.wait(lambda: container_id(host, uid) != before and host.is_ready(uid))
    await host.wait(lambda: has(host, uid, BIG))
    assert main_status(host, uid).restart_count == 1
    assert read_numbers(host, uid, container_id(host, uid)) == expected(400, 128)
    assert read_numbers(host, uid) == expected(400, 128)
    assert "BackOff" not in {event.reason for event in host.events.events}


async def test_a_limit_below_what_is_in_use_waits(host: PodHost) -> None:
    hold = "mkdir -p /tmp; dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>/dev/null"
    release = "trap 'rm -f /dev/shm/held' USR1"
    uid = await start(host, sized("200m", "128Mi"), release, hold)
    before = container_id(host, uid)
    await host.wait(lambda: _memory_in_use(host, uid, before) > 40 * MIB)
    host.resize(uid, main=sized("200m", "32Mi"))

    def error() -> str:
        found = conditions(host, uid).get("PodResizeInProgress")
        return found.message if found is not None and found.reason == "Error" else ""

    await host.wait(lambda: "below current usage" in error())
    assert read_numbers(host, uid, before).memory == 128 * MIB
    assert main_status(host, uid).resources == sized("200m", "128Mi")
    assert main_status(host, uid).allocated_resources["memory"] == "32Mi"
    await host.client.exec_sync(before, ("sh", "-c", "rm /dev/shm/held"), 5)
    await host.wait(lambda: has(host, uid, sized("200m", "32Mi")), seconds=60)
    assert read_numbers(host, uid, before) == expected(200, 32)
    assert container_id(host, uid) == before


def _memory_in_use(host: PodHost, uid: PodUID, container: str) -> int:
    for directory in _cgroups(host, uid):
        for name in ("memory.usage_in_bytes", "memory.current"):
            if (file := directory / container / name).exists():
                return int(file.read_text())
    return 0


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.06, 0.1])
async def test_an_agent_that_dies_in_the_middle_finishes_later(host: PodHost, seconds: float) -> None:
    uid = await start(host, SMALL)
    before = container_id(host, uid)
    host.resize(uid, main=BIG)
    await asyncio.sleep(seconds)
    await host.crash()
    host.start()
    await host.wait(lambda: has(host, uid, BIG))
    await asyncio.sleep(0.2)
    assert container_id(host, uid) == before
    assert read_numbers(host, uid, before) == expected(400, 128)
    assert read_numbers(host, uid) == expected(400, 128)


async def test_an_agent_that_dies_while_a_container_is_replaced_replaces_it_once(host: PodHost) -> None:
    policy = ContainerResizePolicy(resource_name="memory", restart_policy="RestartContainer")
    uid = await start(host, SMALL, resize_policy=(policy,))
    host.resize(uid, main=BIG)
    await asyncio.sleep(0.1)
    await host.crash()
    host.start()
    await host.wait(lambda: host.is_ready(uid) and has(host, uid, BIG))
    await asyncio.sleep(1.0)
    assert main_status(host, uid).restart_count == 1
    assert read_numbers(host, uid, container_id(host, uid)) == expected(400, 128)


async def test_a_restart_after_a_resize_changes_nothing(host: PodHost) -> None:
    uid = await start(host, SMALL)
    host.resize(uid, main=BIG)
    await host.wait(lambda: has(host, uid, BIG))
    writes, events = len(host.api.history[uid]), len(host.events.events)
    await host.crash()
    host.start()
    await asyncio.sleep(1.0)
    assert has(host, uid, BIG)
    assert (len(host.api.history[uid]), len(host.events.events)) == (writes, events)


async def test_a_container_that_comes_back_has_what_was_allocated(host: PodHost) -> None:
    uid = await start(host, SMALL)
    before = container_id(host, uid)
    host.resize(uid, main=BIG)
    await host.wait(lambda: has(host, uid, BIG))
    await host.client.exec_sync(before, ("sh", "-c", "kill -TERM 1"), 5)
    await host.wait(lambda: container_id(host, uid) != before and host.is_ready(uid))
    assert read_numbers(host, uid, container_id(host, uid)) == expected(400, 128)
    assert has(host, uid, BIG)


async def test_more_than_the_node_has_is_infeasible(host: PodHost) -> None:
    host.machine = builders.node()
    uid = await start(host, SMALL)
    host.resize(uid, main=sized("5", "64Mi"))
    await host.wait(lambda: "PodResizePending" in conditions(host, uid))
    pending = conditions(host, uid)["PodResizePending"]
    assert (pending.status, pending.reason) == ("True", "Infeasible")
    assert pending.message == "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert main_status(host, uid).resources == SMALL
    assert read_numbers(host, uid, container_id(host, uid)) == expected(200, 64)
    host.resize(uid, main=SMALL)
    await host.wait(lambda: has(host, uid, SMALL))


async def test_what_others_hold_is_waited_for(host: PodHost) -> None:
    host.machine = builders.node()
    uid = await start(host, SMALL)
    reserved = ResourceRequirements(requests={"cpu": "3"})
    other = host.create(new_pod(FOREVER, name="other", container={"resources": reserved}))
    await host.wait(lambda: host.is_ready(other))
    host.resize(uid, main=sized("2", "64Mi"))
    await host.wait(lambda: "PodResizePending" in conditions(host, uid))
    pending = conditions(host, uid)["PodResizePending"]
    assert pending.reason == "Deferred"
    expected_message = "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
    assert pending.message == expected_message
    await host.crash()
    host.start()
    await asyncio.sleep(0.3)
    assert conditions(host, uid)["PodResizePending"].reason == "Deferred"
    host.delete(other, grace_seconds=1)
    await host.wait_until_gone(other)
    await host.wait(lambda: has(host, uid, sized("2", "64Mi")))
    assert read_numbers(host, uid, container_id(host, uid)) == expected(2000, 64)
    assert main_status(host, uid).restart_count == 0


async def test_a_pod_without_requests_has_the_least_weight(host: PodHost) -> None:
    uid = await start(host, ResourceRequirements())
    directories = [path for path in _cgroups(host, uid) if "besteffort" in path.parts]
    assert directories
    numbers = {
        file.name: file.read_text().strip()
        for directory in directories
        for file in directory.iterdir()
        if file.name in ("cpu.shares", "cpu.weight")
    }
    assert set(numbers.items()) <= {("cpu.shares", "2"), ("cpu.weight", "1")}
    assert numbers
