"""The status writer: one write at a time, only what changed, until it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from agent.pods.status_writer import StatusWriter
from kubeapi.errors import Unreachable
from kubeapi.pod import Pod, PodStatus, PodUID
from tests import builders

POD = msgspec.structs.replace(builders.pod(), status=PodStatus())


class Api:
    """Answers when the test lets it."""

    def __init__(self) -> None:
        self.patches: list[Mapping[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0
        self.exists = True
        self.in_flight = 0

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> bool:
        self.in_flight += 1
        assert self.in_flight == 1
        await self.gate.wait()
        self.in_flight -= 1
        if self.failures:
            self.failures -= 1
            raise Unreachable("away")
        self.patches.append(patch)
        return self.exists

    async def delete_pod(self, pod: Pod) -> None:
        raise AssertionError("a status writer deletes nothing")

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        raise AssertionError("a status writer creates nothing")


class Desk:
    def __init__(self) -> None:
        self.api = Api()
        self.target: Pod | None = POD
        self.writer = StatusWriter(self.api, lambda pod: self.target, lambda: 0.0)

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
    desk.writer.submit(POD, PodStatus(phase="Pending"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk.writer.submit(POD, PodStatus(phase="Unknown"))
    desk.writer.submit(POD, PodStatus(phase="Running"))
    desk.api.gate.set()
    await desk.writer.flush(POD.uid)
    assert desk.phases() == ["Pending", "Running"]


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
    desk.writer.note_target(POD, PodUID("mirror"))
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
    desk.writer.submit(POD, PodStatus(phase="Pending"))
    await asyncio.sleep(0)
    desk.api.gate.set()
    for _ in range(steps):
        await asyncio.sleep(0)

    desk.writer.submit(POD, PodStatus(phase="Running"))

    await desk.writer.flush(POD.uid)
    assert desk.phases()[-1] == "Running"
