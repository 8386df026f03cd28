"""The status writer: one write at a time, only what changed, until it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from agent.pods.status.urgency import HOLD_BACK_SECONDS
from agent.pods.status.writer import StatusWriter
from kubeapi.errors import Unreachable
from kubeapi.meta import Condition
from kubeapi.pod import Pod, PodStatus
from tests import builders
from tests.simulation.agent.virtual_time import run_virtually

READY = PodStatus(conditions=(Condition(type="Ready", status="True"),))
STARTING = PodStatus(phase="Pending")
SILENT = Condition(type="Ready", status="False", reason="NodeNotReady")
POD = msgspec.structs.replace(builders.pod(), status=PodStatus())


class Api:
    """Answers when the test lets it, with conditions merged by type; it forgets the rest of a patch."""

    def __init__(self) -> None:
        self.patches: list[Mapping[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0
        self.exists = True
        self.in_flight = 0
        self.most_in_flight = 1
        self.version = 1
        self.conditions: dict[str, Condition] = {}
        self.obeys = True

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        self.in_flight += 1
        assert self.in_flight <= self.most_in_flight
        await self.gate.wait()
        self.in_flight -= 1
        if self.failures:
            self.failures -= 1
            raise Unreachable("away")
        self.patches.append(patch)
        return self.store(*patch["status"].get("conditions", ()), obeys=self.obeys) if self.exists else None

    def store(self, *conditions: Mapping[str, Any], obeys: bool = True) -> Pod:
        self.version += 1
        for each in conditions if obeys else ():
            kept = {key: value for key, value in each.items() if value is not None}
            self.conditions[each["type"]] = msgspec.convert(kept, Condition)
        return self.read()

    def read(self) -> Pod:
        metadata = msgspec.structs.replace(POD.metadata, resource_version=str(self.version))
        status = PodStatus(conditions=tuple(self.conditions.values()))
        return msgspec.structs.replace(POD, metadata=metadata, status=status)

    async def delete_pod(self, pod: Pod) -> None:
        raise AssertionError("a status writer deletes nothing")

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        raise AssertionError("a status writer creates nothing")


class Desk:
    def __init__(self) -> None:
        self.api = Api()
        self.target: Pod | None = POD
        self.writer = StatusWriter(self.api, lambda pod: self.target, lambda: 0.0)

    def show(self, pod: Pod) -> None:
        """What the informer does with an event."""
        self.target = pod
        self.writer.note_object(pod, pod)

    async def write_ready(self) -> None:
        self.writer.submit(POD, READY)
        await self.writer.flush(POD.uid)

    def phases(self) -> list[str]:
        return [patch["status"]["phase"] for patch in self.api.patches]


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.writer.aclose()


async def test_a_status_is_written_once(desk: Desk) -> None:
    for _ in range(3):
        desk.writer.submit(POD, PodStatus(phase="Running"))
        await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Running"]
    assert desk.api.patches[0]["metadata"] == {"uid": POD.uid}


async def test_what_is_overtaken_is_never_sent(desk: Desk) -> None:
    desk.api.gate.clear()
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk.writer.submit(POD, PodStatus(phase="Unknown"))
    desk.writer.submit(POD, PodStatus(phase="Succeeded"))
    desk.api.gate.set()
    await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Running", "Succeeded"]


async def test_a_step_is_not_written_once_it_is_overtaken(desk: Desk) -> None:
    desk.writer.submit(POD, STARTING)
    await asyncio.sleep(0)
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Running"]


def test_a_step_that_lasts_is_written() -> None:
    async def run() -> None:
        desk = Desk()
        desk.writer.submit(POD, STARTING)
        await asyncio.sleep(HOLD_BACK_SECONDS * 0.9)
        assert desk.api.patches == []
        desk.writer.submit(POD, msgspec.structs.replace(STARTING, host_ip="10.0.0.1"))
        await asyncio.sleep(HOLD_BACK_SECONDS * 0.2)
        assert [patch["status"] for patch in desk.api.patches] == [{"phase": "Pending", "hostIP": "10.0.0.1"}]
        await desk.writer.aclose()

    run_virtually(run())


async def test_who_waits_for_a_step_gets_it_at_once(desk: Desk) -> None:
    desk.writer.submit(POD, STARTING)
    async with asyncio.timeout(HOLD_BACK_SECONDS / 2):
        await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Pending"]


async def test_only_a_few_writes_are_under_way_at_once() -> None:
    desk = Desk()
    desk.api.most_in_flight = 8
    desk.api.gate.clear()
    pods = [
        msgspec.structs.replace(POD, metadata=msgspec.structs.replace(POD.metadata, uid=f"pod-{number}"))
        for number in range(20)
    ]
    for pod in pods:
        desk.writer.submit(pod, PodStatus(phase="Running"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert desk.api.in_flight == 8
    desk.api.gate.set()
    for pod in pods:
        await desk.writer.flush(pod.uid)
    assert len(desk.api.patches) == len(pods)


async def test_a_failed_write_is_repeated(desk: Desk) -> None:
    desk.api.failures = 2
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Running"]


async def test_a_pod_that_is_gone_ends_the_writing(desk: Desk) -> None:
    desk.api.exists = False
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await desk.writer.flush(POD.uid)
    assert len(desk.api.patches) == 1


async def test_without_an_object_it_waits_for_one(desk: Desk) -> None:
    desk.target = None
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await desk.writer.flush(POD.uid)
    assert desk.api.patches == []
    metadata = msgspec.structs.replace(POD.metadata, uid="mirror")
    desk.target = msgspec.structs.replace(POD, metadata=metadata)
    desk.writer.note_object(POD, desk.target)
    await desk.writer.flush(POD.uid)
    assert desk.api.patches[0]["metadata"] == {"uid": "mirror"}


async def test_an_object_that_says_so_already_is_left_alone(desk: Desk) -> None:
    desk.target = msgspec.structs.replace(POD, status=PodStatus(phase="Running"))
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await desk.writer.flush(POD.uid)
    assert desk.api.patches == []


async def test_a_forgotten_pod_writes_no_more(desk: Desk) -> None:
    desk.api.gate.clear()
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await asyncio.sleep(0)
    desk.writer.forget(POD.uid)
    desk.api.gate.set()
    await asyncio.sleep(0)
    await desk.writer.flush(POD.uid)
    assert desk.api.patches == []


@pytest.mark.parametrize("steps", range(8))
async def test_no_moment_of_a_write_s_end_loses_the_next_status(desk: Desk, steps: int) -> None:
    desk.api.gate.clear()
    desk.writer.submit(POD, PodStatus(phase="Running"))
    await asyncio.sleep(0)
    desk.api.gate.set()
    for _ in range(steps):
        await asyncio.sleep(0)

    desk.writer.submit(POD, PodStatus(phase="Succeeded"))

    await desk.writer.flush(POD.uid)
    assert desk.phases()[-1] == "Succeeded"


async def test_our_own_write_coming_back_sends_nothing(desk: Desk) -> None:
    await desk.write_ready()
    desk.show(desk.api.read())
    await desk.writer.flush(POD.uid)
    assert len(desk.api.patches) == 1


async def test_what_is_older_than_our_write_sends_nothing(desk: Desk) -> None:
    older = desk.api.store(msgspec.to_builtins(SILENT))
    await desk.write_ready()
    desk.show(older)
    await desk.writer.flush(POD.uid)
    assert len(desk.api.patches) == 1


async def test_what_somebody_wrote_over_is_sent_again_each_time(desk: Desk) -> None:
    await desk.write_ready()
    for _ in range(2):
        desk.show(desk.api.store(msgspec.to_builtins(SILENT)))
        await desk.writer.flush(POD.uid)
        desk.show(desk.api.read())
        await desk.writer.flush(POD.uid)
    assert desk.api.read().status == READY
    assert len(desk.api.patches) == 3
    again = {"type": "Ready", "status": "True", "reason": None}
    assert desk.api.patches[-1]["status"] == {"conditions": [again]}


async def test_a_condition_of_others_is_theirs(desk: Desk) -> None:
    await desk.write_ready()
    desk.show(desk.api.store({"type": "PodScheduled", "status": "True"}))
    await desk.writer.flush(POD.uid)
    assert len(desk.api.patches) == 1


@pytest.mark.parametrize("is_shown_at_once", [False, True])
async def test_what_is_written_over_while_a_write_is_on_its_way(desk: Desk, is_shown_at_once: bool) -> None:
    await desk.write_ready()
    desk.api.gate.clear()
    desk.writer.submit(POD, msgspec.structs.replace(READY, phase="Running"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    overwritten = desk.api.store(msgspec.to_builtins(SILENT))
    if is_shown_at_once:
        desk.show(overwritten)
    desk.api.gate.set()
    await desk.writer.flush(POD.uid)
    assert desk.api.read().status == READY
    assert len(desk.api.patches) == 3


async def test_a_server_that_will_not_have_it_is_not_asked_for_ever(desk: Desk) -> None:
    desk.api.obeys = False
    await desk.write_ready()
    desk.show(desk.api.read())
    await desk.writer.flush(POD.uid)
    assert len(desk.api.patches) == 1
