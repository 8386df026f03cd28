from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.core import EventSource, ObjectReference
from kubeapi.errors import Unreachable
from kubeapi.event_records import (
    EventType,
    Occurrence,
    RecordedEvent,
    RecordedEvents,
    build_event,
    build_reference,
    build_repetition,
)
from kubeapi.events import EventRecorder
from kubeapi.kubeconfig import ClientConfig
from kubeapi.meta import ObjectMeta
from kubeapi.pod import Pod
from kubeapi.resources import PODS
from kubeapi.status import Reason
from tests.fakes.fake_api import FakeApi
from tests.simulation.agent.virtual_time import run_virtually, wall_clock

POD = ObjectReference(kind="Pod", namespace="web", name="p", uid="u1", api_version="v1")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def occurrence(message: str = "Started container", unique: int = 255) -> Occurrence:
    return Occurrence(POD, EventType.NORMAL, "Started", message, NOW, unique)


def test_a_reference_names_a_part() -> None:
    pod = Pod(metadata=ObjectMeta(name="p", namespace="web", uid="u1", resource_version="7"))
    assert build_reference(PODS, pod, "spec.containers{c}") == ObjectReference(
        kind="Pod",
        namespace="web",
        name="p",
        uid="u1",
        api_version="v1",
        resource_version="7",
        field_path="spec.containers{c}",
    )


def test_an_event() -> None:
    event = build_event(occurrence("x" * 5000), EventSource(component="berth-agent", host="n1"))
    assert event.metadata == ObjectMeta(name="p.00000000000000ff", namespace="web")
    assert (event.count, event.type, event.reason, len(event.message)) == (1, "Normal", "Started", 1024)
    assert event.first_timestamp == event.last_timestamp == "2026-01-02T03:04:05Z"
    assert (event.reporting_component, event.reporting_instance) == ("berth-agent", "n1")


def test_events_on_nodes_live_in_the_default_namespace() -> None:
    node = ObjectReference(kind="Node", name="n1")
    event = build_event(Occurrence(node, EventType.WARNING, "R", "m", NOW, 1), EventSource())
    assert event.metadata.namespace == "default"


def test_a_repetition() -> None:
    patch = build_repetition(RecordedEvent("p.1", "web", 3), occurrence())
    assert patch == {"count": 4, "lastTimestamp": "2026-01-02T03:04:05Z"}


def test_the_longest_unused_is_forgotten() -> None:
    recorded = RecordedEvents(limit=2)
    for number in range(2):
        recorded.remember(occurrence(str(number)), RecordedEvent(f"e{number}", "web", 1))
    recorded.remember(occurrence("0"), RecordedEvent("e0", "web", 2))
    recorded.remember(occurrence("2"), RecordedEvent("e2", "web", 1))
    assert recorded.find(occurrence("0")) == RecordedEvent("e0", "web", 2)
    assert recorded.find(occurrence("1")) is None


@asynccontextmanager
async def recording(api: FakeApi) -> AsyncIterator[EventRecorder]:
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        recorder = EventRecorder(client, component="test", host="n1", backoff=Backoff(0.001, 0.002))
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def drained(recorder: EventRecorder) -> None:
    async with asyncio.timeout(10):
        await recorder.drain()


def written(api: FakeApi) -> list[tuple[str, int]]:
    return [(each["message"], each["count"]) for each in api.documents("v1/events")]


async def test_repetitions_are_counted(api: FakeApi) -> None:
    async with recording(api) as recorder:
        for message in ("a", "b", "a", "a"):
            recorder.record(POD, EventType.WARNING, "BackOff", message)
        await drained(recorder)
    assert written(api) == [("a", 3), ("b", 1)]


async def test_an_expired_event_is_written_anew(api: FakeApi) -> None:
    async with recording(api) as recorder:
        recorder.record(POD, EventType.WARNING, "BackOff", "a")
        await drained(recorder)
        (event,) = api.documents("v1/events")
        api.remove("v1/events", event["metadata"]["name"], "web")
        recorder.record(POD, EventType.WARNING, "BackOff", "a")
        await drained(recorder)
    assert written(api) == [("a", 1)]


async def test_a_server_in_trouble_is_waited_for(api: FakeApi) -> None:
    api.fail_next(Reason.SERVICE_UNAVAILABLE, 503, times=3)
    async with recording(api) as recorder:
        recorder.record(POD, EventType.NORMAL, "Started", "a")
        await drained(recorder)
    assert written(api) == [("a", 1)]


async def test_what_is_refused_is_dropped(api: FakeApi) -> None:
    api.fail_next(Reason.FORBIDDEN, 403)
    async with recording(api) as recorder:
        recorder.record(POD, EventType.NORMAL, "Started", "a")
        recorder.record(POD, EventType.NORMAL, "Started", "b")
        await drained(recorder)
        assert recorder.dropped == 1
    assert written(api) == [("b", 1)]


async def test_noting_never_waits(api: FakeApi) -> None:
    async with Client(ClientConfig(server="http://127.0.0.1:1"), user_agent="test") as client:
        recorder = EventRecorder(client, component="test")
        for number in range(1500):
            recorder.record(POD, EventType.NORMAL, "R", str(number))
        assert recorder.dropped == 500


async def test_a_recorder_that_gives_way_writes_later_and_with_pauses(api: FakeApi) -> None:
    linger_seconds, share = 0.1, 0.1
    loop = asyncio.get_running_loop()
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        recorder = EventRecorder(client, component="test", linger_seconds=linger_seconds, share=share)
        task = asyncio.create_task(recorder.run())
        try:
            noted = loop.time()
            for message in ("a", "b", "c"):
                recorder.record(POD, EventType.NORMAL, "R", message)
            await drained(recorder)
            assert loop.time() - noted >= linger_seconds
            assert [message for message, _ in written(api)] == ["a", "b", "c"]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _ServerAway:
    """Takes nothing for its first tries; `written` are the times at which it took something."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.written: list[float] = []

    async def create(self, *_: object) -> None:
        self.tries -= 1
        if self.tries >= 0:
            raise Unreachable("connection refused")
        self.written.append(asyncio.get_running_loop().time())


def test_waiting_for_a_server_that_was_away_is_no_work_to_rest_from() -> None:
    away = _ServerAway(tries=6)

    async def write_two() -> None:
        recorder = EventRecorder(cast("Client", away), component="test", clock=wall_clock, share=0.1)
        task = asyncio.create_task(recorder.run())
        for message in ("a", "b"):
            recorder.record(POD, EventType.NORMAL, "R", message)
        await recorder.drain()
        task.cancel()

    run_virtually(write_two())
    first, second = away.written
    assert first > 10.0
    assert second - first <= 1.0
