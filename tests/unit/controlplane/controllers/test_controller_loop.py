"""The work queue, the loop and the executor: one look at a time for each key, retries, nothing forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast

import pytest

from controlplane.controllers.actions import (
    Action,
    Adopt,
    Create,
    Delete,
    FinalizeNamespace,
    MergePatch,
    Plan,
    group_independent,
)
from controlplane.controllers.cache import Cache
from controlplane.controllers.execute import Executor
from controlplane.controllers.loop import ReconcileLoop
from controlplane.controllers.work_queue import WorkQueue
from controlplane.notes import Note
from kubeapi.client import Client
from kubeapi.core import ObjectReference
from kubeapi.errors import ApiStatusError, Unreachable
from kubeapi.event_records import EventType
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.resources import NAMESPACES, PODS, REPLICA_SETS
from tests.builders import NOW
from tests.fakes.api_memory import ApiMemory, Fault

KEY = ObjectKey("default", "web")


class Notebook:
    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None:
        self.notes.append((reason, message))


class Looks:
    """A reconciler whose looks are a function of the test."""

    name = "test"

    def __init__(self, look: Callable[[str, str], Awaitable[Plan]]) -> None:
        self.queue: WorkQueue[str] = WorkQueue()
        self._look = look

    def subscribe(self) -> None: ...

    async def look(self, key: str, now: datetime, last_failure: str) -> Plan:
        return await self._look(key, last_failure)


def build_executor(api: ApiMemory, *caches: Cache[Any]) -> tuple[Executor, Notebook]:
    notebook = Notebook()
    return Executor(cast(Client, api), caches, notebook), notebook


@asynccontextmanager
async def running(looks: Looks, api: ApiMemory, workers: int = 4) -> AsyncIterator[None]:
    executor, _ = build_executor(api)
    loop = ReconcileLoop(looks, executor, workers=workers, clock=lambda: NOW, random_source=lambda: 0.0)
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- the queue ----------------------------------------------------------------------------------------------


async def test_a_key_waits_once_and_comes_again_when_added_during_its_look() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0)
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.is_idle


async def test_of_several_times_the_earliest_holds() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.0)
    queue.add_after("a", 3600.0)
    assert await asyncio.wait_for(queue.get(), 5) == "a"
    queue.add_after("b", 3600.0)
    queue.add_after("b", 0.0)
    assert await asyncio.wait_for(queue.get(), 5) == "b"
    queue.close()


# --- the loop -----------------------------------------------------------------------------------------------


async def test_one_key_never_has_two_looks_and_keys_run_in_parallel() -> None:
    active: dict[str, int] = {"a": 0, "b": 0}
    both, finished = asyncio.Event(), asyncio.Event()

    async def look(key: str, last_failure: str) -> Plan:
        active[key] += 1
        assert active[key] == 1
        if all(active.values()):
            both.set()
        await both.wait()
        active[key] -= 1
        finished.set()
        return Plan()

    looks = Looks(look)
    async with running(looks, ApiMemory()):
        for key in ("a", "b", "a", "b"):
            looks.queue.add(key)
        await asyncio.wait_for(both.wait(), 5)
        looks.queue.add("a")
        await asyncio.wait_for(finished.wait(), 5)


async def test_a_failed_look_comes_again_and_knows_why() -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def look(key: str, last_failure: str) -> Plan:
        seen.append(last_failure)
        if len(seen) == 1:
            raise ApiStatusError(403, "Forbidden", "quota")
        if len(seen) == 2:
            raise ApiStatusError(409, "Conflict", "modified")
        if len(seen) == 4:
            done.set()
        return Plan()

    looks = Looks(look)
    async with running(looks, ApiMemory()):
        looks.queue.add("a")
        await asyncio.wait_for(done.wait(), 5)
    # A race is no failure of the object's; after success one more look takes the failure back.
    assert seen == ["", "quota", "quota", ""]


async def test_a_look_that_breaks_does_not_stop_the_others() -> None:
    done = asyncio.Event()

    async def look(key: str, last_failure: str) -> Plan:
        if key == "broken":
            raise ZeroDivisionError
        done.set()
        return Plan()

    looks = Looks(look)
    async with running(looks, ApiMemory(), workers=1):
        looks.queue.add("broken")
        looks.queue.add("fine")
        await asyncio.wait_for(done.wait(), 5)


async def test_the_next_look_comes_by_time() -> None:
    count = 0
    done = asyncio.Event()

    async def look(key: str, last_failure: str) -> Plan:
        nonlocal count
        count += 1
        if count == 2:
            done.set()
        return Plan((), 0.001)

    looks = Looks(look)
    async with running(looks, ApiMemory()):
        looks.queue.add("a")
        await asyncio.wait_for(done.wait(), 5)


# --- the executor -------------------------------------------------------------------------------------------


def build_create(name: str = "web", note: Note | None = None) -> Create:
    body = {"metadata": {"name": name, "namespace": "default"}}
    return Create(PODS, ObjectKey("default", name), body, note, failure_reason="FailedCreate")


async def test_what_was_written_is_in_the_cache_at_once() -> None:
    api, cache = ApiMemory(), Cache(PODS)
    executor, notebook = build_executor(api, cache)
    about = ObjectReference(kind="ReplicaSet", name="web")
    await executor.apply((build_create(note=Note(about, "SuccessfulCreate", "Created pod: web")),))
    pod = cache.get(KEY)
    assert pod is not None
    assert notebook.notes == [("SuccessfulCreate", "Created pod: web")]
    await executor.apply((MergePatch(PODS, KEY, {"metadata": {"labels": {"a": "b"}}}),))
    assert dict(cast(Pod, cache.get(KEY)).metadata.labels) == {"a": "b"}
    await executor.apply((Delete(PODS, KEY, pod.metadata.uid),))
    assert cast(Pod, cache.get(KEY)).metadata.deletion_timestamp is not None


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
async def test_a_write_without_an_answer_is_looked_up_before_the_next_plan(fault: Fault) -> None:
    api, cache = ApiMemory(script=iter([fault])), Cache(PODS)
    executor, _ = build_executor(api, cache)
    with pytest.raises(Unreachable):
        await executor.apply((build_create(),))
    assert cache.unsure_keys == (KEY,)
    assert cache.get(KEY) is None
    await executor.settle()
    assert (cache.get(KEY) is not None) is (fault is Fault.LOST_AFTER)
    assert not cache.unsure_keys


async def test_an_earlier_attempt_is_found_by_its_name() -> None:
    api, cache = ApiMemory(), Cache(PODS)
    api.put(PODS, {"metadata": {"name": "web", "namespace": "default"}})
    executor, notebook = build_executor(api, cache)
    with pytest.raises(ApiStatusError):
        await executor.apply((build_create(),))
    assert cache.get(KEY) is not None
    assert notebook.notes == []


async def test_deleting_what_is_gone_or_replaced_is_success() -> None:
    api = ApiMemory()
    executor, _ = build_executor(api)
    await executor.apply((Delete(PODS, KEY, "uid-old"),))
    api.put(PODS, {"metadata": {"name": "web", "namespace": "default", "uid": "uid-new"}})
    await executor.apply((Delete(PODS, KEY, "uid-old"),))
    assert len(api.views(PODS)) == 1


async def test_a_dying_owner_adopts_nothing() -> None:
    api = ApiMemory()
    owner = {"name": "web", "namespace": "default", "uid": "uid-owner"}
    api.put(REPLICA_SETS, {"metadata": {**owner, "deletionTimestamp": "2026-01-02T03:04:05Z"}})
    api.put(PODS, {"metadata": {"name": "web", "namespace": "default"}})
    adopt = Adopt(PODS, KEY, {"metadata": {"labels": {"a": "b"}}}, REPLICA_SETS, KEY, "uid-owner")
    executor, _ = build_executor(api)
    await executor.apply((adopt,))
    assert api.writes == []
    api.put(REPLICA_SETS, {"metadata": owner})
    await executor.apply((adopt,))
    assert api.writes == ["patch pods web"]


async def test_finalizing_keeps_what_else_is_in_the_namespace() -> None:
    api = ApiMemory()
    spec = {"finalizers": ["kubernetes", "mine/too"], "futureField": 1}
    api.put(NAMESPACES, {"metadata": {"name": "tmp", "uid": "uid-tmp"}, "spec": spec})
    executor, _ = build_executor(api)
    await executor.apply((FinalizeNamespace("tmp", "uid-tmp"),))
    (left,) = api.views(NAMESPACES)
    assert left.spec.finalizers == ("mine/too",)
    await executor.apply((FinalizeNamespace("tmp", "uid-another"), FinalizeNamespace("gone", "uid")))


def test_only_neighbours_of_a_kind_are_sent_together() -> None:
    creates = tuple(build_create(str(number)) for number in range(5))
    patch: Action = MergePatch(PODS, KEY, {})
    deletes = (Delete(PODS, KEY, "a"), Delete(PODS, KEY, "b"))
    groups = list(group_independent((*creates, patch, patch, *deletes), 3))
    assert groups == [creates[:3], creates[3:], (patch,), (patch,), deletes]
