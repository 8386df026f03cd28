"""Informers against the fake API server: every way in which a watch can break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.core import Namespace
from kubeapi.informer import Change, Informer
from kubeapi.kubeconfig import ClientConfig
from kubeapi.meta import ObjectKey
from kubeapi.resources import NAMESPACES
from kubeapi.status import Reason
from tests.fakes.fake_api import FakeApi, RecordedRequest

COLLECTION = "v1/namespaces"
QUICK = Backoff(initial_seconds=0.001, maximum_seconds=0.01)


class Notices:
    """What an informer told, and a way to wait for it."""

    def __init__(self, informer: Informer[Namespace]) -> None:
        self.told: list[str] = []
        self._event = asyncio.Event()
        informer.subscribe(self._note)

    def _note(self, change: Change[Namespace]) -> None:
        sign = "+" if change.old is None else "-" if change.new is None else "~"
        self.told.append(sign + change.key.name)
        self._event.set()

    async def wait_for(self, *expected: str) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < len(expected):
                self._event.clear()
                await self._event.wait()
        assert self.told == list(expected)
        self.told.clear()


@asynccontextmanager
async def running(api: FakeApi) -> AsyncIterator[tuple[Informer[Namespace], Notices]]:
    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        informer = Informer(client, NAMESPACES, backoff=QUICK)
        notices = Notices(informer)
        task = asyncio.create_task(informer.run())
        try:
            yield informer, notices
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """For conditions that have no event of their own: the state of a server's connections."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.002)


async def synced(informer: Informer[Namespace], api: FakeApi) -> None:
    async with asyncio.timeout(10):
        await informer.wait_until_synced()
    await until(lambda: api.watch_count() == 1)


def put(api: FakeApi, name: str, **labels: str) -> None:
    api.put(COLLECTION, {"metadata": {"name": name, "labels": labels}})


def is_list(request: RecordedRequest) -> bool:
    return request.method == "GET" and not request.is_watch


async def test_lists_then_watches(api: FakeApi) -> None:
    put(api, "a")
    async with running(api) as (informer, notices):
        await synced(informer, api)
        await notices.wait_for("+a")
        put(api, "b")
        put(api, "a", x="y")
        api.remove(COLLECTION, "b")
        await notices.wait_for("+b", "~a", "-b")
        assert set(informer.objects()) == {ObjectKey("", "a")}
        known = informer.get(ObjectKey("", "a"))
        assert known is not None
        assert known.metadata.labels == {"x": "y"}
        assert informer.get(ObjectKey("", "b")) is None
        state = informer.state()
        assert (state.synced, state.object_count, state.last_error, state.failing_since) == (
            True,
            1,
            "",
            None,
        )
    watch = next(each for each in api.requests if each.is_watch)
    assert watch.query["allowWatchBookmarks"] == "true"
    assert 300 <= int(watch.query["timeoutSeconds"]) <= 600


async def test_a_late_subscriber_is_told_what_is_there(api: FakeApi) -> None:
    put(api, "a")
    async with running(api) as (informer, _notices):
        await synced(informer, api)
        await Notices(informer).wait_for("+a")


async def test_a_cut_stream_is_resumed_without_a_list(api: FakeApi) -> None:
    async with running(api) as (informer, notices):
        await synced(informer, api)
        put(api, "a")
        await notices.wait_for("+a")
        api.drop_watches()
        put(api, "b")
        await notices.wait_for("+b")
    assert len([each for each in api.requests if is_list(each)]) == 1


async def test_a_bookmark_moves_the_version(api: FakeApi) -> None:
    async with running(api) as (informer, _notices):
        await synced(informer, api)
        api.send_bookmarks()
        bookmark = str(api.revision)
        await until(lambda: informer.state().resource_version == bookmark)
        api.drop_watches()
        await until(lambda: len([each for each in api.requests if each.is_watch]) >= 2)
    assert [each for each in api.requests if each.is_watch][-1].query["resourceVersion"] == bookmark


async def test_after_410_deletions_in_the_gap_are_told(api: FakeApi) -> None:
    for name in ("a", "b", "c"):
        put(api, name)
    async with running(api) as (informer, notices):
        await synced(informer, api)
        await notices.wait_for("+a", "+b", "+c")
        api.fail_next(Reason.SERVICE_UNAVAILABLE, 503, times=3)
        api.drop_watches()
        api.remove(COLLECTION, "b")
        put(api, "c", x="y")
        put(api, "d")
        api.forget_history()
        await notices.wait_for("-b", "~c", "+d")
        assert [str(key) for key in informer.objects()] == ["a", "c", "d"]
    assert len([each for each in api.requests if is_list(each)]) >= 2


async def test_an_object_made_anew_in_the_gap_is_another_one(api: FakeApi) -> None:
    put(api, "a")
    async with running(api) as (informer, notices):
        await synced(informer, api)
        await notices.wait_for("+a")
        api.fail_next(Reason.SERVICE_UNAVAILABLE, 503, times=2)
        api.drop_watches()
        api.remove(COLLECTION, "a")
        put(api, "a")
        api.forget_history()
        await notices.wait_for("-a", "+a")


async def test_failures_are_shown_and_end(api: FakeApi) -> None:
    api.fail_next(Reason.FORBIDDEN, 403, times=10**9, matches=is_list)
    async with running(api) as (informer, _notices):
        await until(lambda: informer.state().failures >= 3)
        state = informer.state()
        assert (state.synced, state.last_error) == (False, "asked to fail")
        assert state.failing_since is not None
        assert state.next_attempt_at is not None
        api._failpoints.clear()
        put(api, "a")
        await synced(informer, api)
        put(api, "b")
        await until(lambda: informer.state().failures == 0)
        assert informer.state().last_error == ""


async def test_410_again_and_again_backs_off(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    api.fail_next(Reason.EXPIRED, 410, times=4, matches=lambda request: request.is_watch)
    async with running(api) as (informer, _notices):
        await synced(informer, api)
    assert len([each for each in api.requests if is_list(each)]) == 5
    assert len(caplog.records) == 3  # The first is no failure worth waiting for.


async def test_a_server_that_ends_watches_at_once_is_not_hammered(api: FakeApi) -> None:
    api.ends_watches_at_once = True
    delays: list[float] = []

    class Recording(Backoff):
        def delay(self, attempt: int, random: float) -> float:
            delays.append(super().delay(attempt, random))
            return 0.001

    async with api.serve() as url, Client(ClientConfig(server=url), user_agent="test") as client:
        informer = Informer(client, NAMESPACES, backoff=Recording(0.2, 30.0, jitter=0.0))
        task = asyncio.create_task(informer.run())
        await until(lambda: len(delays) >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert delays[:3] == [0.2, 0.4, 0.8]


async def test_a_handler_that_fails_does_not_stop_the_others(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(api) as (informer, notices):

        def fail(_change: Change[Namespace]) -> None:
            raise ZeroDivisionError

        informer.subscribe(fail)
        late = Notices(informer)
        await synced(informer, api)
        put(api, "a")
        await notices.wait_for("+a")
        await late.wait_for("+a")
    assert "A handler of object changes failed" in caplog.text
