"""The scheduler's lane on an API in memory: bound at once, woken by what helps, never placed twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from controlplane.scheduler.reports import DelayReporter
from controlplane.scheduler.scheduler import Scheduler
from kubeapi.client import Client
from kubeapi.core import ObjectReference
from kubeapi.event_records import EventType
from kubeapi.meta import ObjectKey
from kubeapi.resources import NODES, PODS
from tests.builders import NOW
from tests.fakes.api_memory import ApiMemory, Fault

ROOM = {"cpu": "1", "memory": "8Gi", "pods": "110"}


class Notebook:
    def __init__(self) -> None:
        self.notes: list[tuple[str, str, str]] = []

    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None:
        self.notes.append((regarding.name, reason, message))


class Lane:
    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.api = ApiMemory(script=iter(faults))
        self.notebook = Notebook()
        client = cast(Client, self.api)
        self.reporter = DelayReporter(client, clock=lambda: NOW)
        self.scheduler = Scheduler(client, self.notebook, self.reporter, random_source=lambda: 0.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.reporter.run()), asyncio.create_task(self.scheduler.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def put_node(self, name: str, **spec: Any) -> None:
        document = {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": ROOM}}
        self.api.put(NODES, document)
        self.deliver()

    def put_pod(self, name: str, cpu: str = "600m", **spec: Any) -> None:
        containers = [{"name": "web", "resources": {"requests": {"cpu": cpu}}}]
        metadata = {"name": name, "namespace": "default"}
        document = {"metadata": metadata, "spec": {"containers": containers, **spec}}
        self.api.put(PODS, {**document, "status": {"phase": "Pending"}})
        self.deliver()

    def deliver(self) -> None:
        for change in self.api.deliver(NODES):
            self.scheduler.apply_node(change)
        for change in self.api.deliver(PODS):
            self.scheduler.apply_pod(change)

    async def wait_for(self, reason: str, name: str) -> str:
        """The message of the first such note; turns of the loop, not time."""
        for _ in range(2000):
            for about, said, message in self.notebook.notes:
                if (about, said) == (name, reason):
                    return message
            await asyncio.sleep(0)
        raise AssertionError(f"no {reason} about {name}: {self.notebook.notes}")

    def node_of(self, name: str) -> str:
        found = {each.metadata.name: each.spec.node_name for each in self.api.views(PODS)}
        return str(found[name])

    def condition_of(self, name: str) -> tuple[str, str, str] | None:
        for each in self.api.views(PODS):
            for condition in each.status.conditions:
                if each.metadata.name == name and condition.type == "PodScheduled":
                    return condition.status, condition.reason, condition.message
        return None


async def test_a_pod_is_bound_as_soon_as_it_is_seen() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1")
        lane.put_pod("a")
        assert await lane.wait_for("Scheduled", "a") == "Successfully assigned default/a to n1"
    assert lane.node_of("a") == "n1"


async def test_a_burst_does_not_overcommit_before_the_watch_tells() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1")
        for name in ("a", "b"):
            lane.put_pod(name)
        message = await lane.wait_for("FailedScheduling", "b")
        await lane.wait_for("Scheduled", "a")
    assert message == "0/1 nodes are available: 1 Insufficient cpu."
    assert (lane.node_of("a"), lane.node_of("b")) == ("n1", "")


async def test_a_pod_that_fits_nowhere_says_so_once_and_waits_for_room() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1")
        lane.put_pod("a")
        await lane.wait_for("Scheduled", "a")
        lane.put_pod("b")
        await lane.wait_for("FailedScheduling", "b")
        for _ in range(50):
            await asyncio.sleep(0)
        message = "0/1 nodes are available: 1 Insufficient cpu."
        assert lane.condition_of("b") == ("False", "Unschedulable", message)
        lane.deliver()
        writes = len(lane.api.writes)
        lane.api.remove(PODS, ObjectKey("default", "a"))
        lane.deliver()
        await lane.wait_for("Scheduled", "b")
    assert lane.node_of("b") == "n1"
    assert lane.api.writes[writes:] == ["create pods b"]


@pytest.mark.parametrize("helps", [True, False])
async def test_only_a_change_that_helps_wakes_a_pod(helps: bool) -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1", unschedulable=True)
        lane.put_pod("a")
        await lane.wait_for("FailedScheduling", "a")
        heartbeat = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        patch = {"spec": {"unschedulable": False}} if helps else heartbeat
        lane.api.edit(NODES, ObjectKey("", "n1"), patch)
        lane.deliver()
        for _ in range(50):
            await asyncio.sleep(0)
    assert (lane.node_of("a") == "n1") is helps


async def test_no_nodes_at_all_is_said_and_the_first_node_helps() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_pod("a")
        assert await lane.wait_for("FailedScheduling", "a") == "no nodes available to schedule pods"
        lane.put_node("n1")
        await lane.wait_for("Scheduled", "a")


async def test_the_important_pod_goes_first() -> None:
    lane = Lane()
    lane.put_node("n1")
    lane.put_pod("a", priority=1)
    lane.put_pod("b", priority=10)
    async with lane.running():
        await lane.wait_for("Scheduled", "b")
        await lane.wait_for("FailedScheduling", "a")


async def test_a_gated_pod_waits_until_its_gates_are_gone() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1")
        lane.put_pod("a", schedulingGates=[{"name": "mine/too"}])
        for _ in range(50):
            await asyncio.sleep(0)
        said = ("False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
        assert lane.condition_of("a") == said
        lane.put_node("n2")
        lane.api.edit(PODS, ObjectKey("default", "a"), {"spec": {"schedulingGates": None}})
        lane.deliver()
        await lane.wait_for("Scheduled", "a")


async def test_pods_of_other_schedulers_are_left_alone() -> None:
    lane = Lane()
    async with lane.running():
        lane.put_node("n1")
        lane.put_pod("a", schedulerName="another")
        lane.put_pod("b")
        await lane.wait_for("Scheduled", "b")
    assert lane.node_of("a") == ""


async def test_a_binding_whose_answer_is_lost_is_looked_up_not_repeated() -> None:
    lane = Lane([Fault.LOST_AFTER])
    async with lane.running():
        lane.put_node("n1")
        lane.put_pod("a")
        await lane.wait_for("Scheduled", "a")
    assert lane.api.writes == ["create pods a"]


async def test_the_room_of_a_pod_that_vanished_is_free_again() -> None:
    lane = Lane()
    lane.put_node("n1")
    lane.put_pod("a")
    lane.api.remove(PODS, ObjectKey("default", "a"))
    async with lane.running():
        for _ in range(50):
            await asyncio.sleep(0)
        lane.deliver()
        lane.put_pod("b")
        await lane.wait_for("Scheduled", "b")
