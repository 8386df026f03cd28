"""File-system work that hangs: only its own key waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agent.volumes.blocking import BlockingWork, WorkHangs


async def test_gives_the_result_or_the_error() -> None:
    work = BlockingWork()
    assert await work.run("pod", "adding", lambda: 1 + 1, deadline_seconds=5) == 2

    def fail() -> None:
        raise TimeoutError("110: the server of the file system")

    with pytest.raises(TimeoutError, match="file system"):
        await work.run("pod", "failing", fail, deadline_seconds=5)
    assert work.in_flight("pod") is None


async def test_a_hanging_call_is_named_and_never_doubled() -> None:
    work, release = BlockingWork(), threading.Event()
    with pytest.raises(WorkHangs, match="mounting has not returned"):
        await work.run("stuck", "mounting", release.wait, deadline_seconds=0.05)
    with pytest.raises(WorkHangs, match="mounting has not returned"):
        await work.run("stuck", "unmounting", lambda: None, deadline_seconds=5)
    assert await work.run("other", "mounting", lambda: "done", deadline_seconds=5) == "done"
    in_flight = work.in_flight("stuck")
    assert in_flight is not None
    assert in_flight.what == "mounting"
    release.set()
    await _until_free(work, "stuck")
    assert await work.run("stuck", "unmounting", lambda: "free", deadline_seconds=5) == "free"


async def test_a_cancelled_wait_leaves_the_key_taken_until_the_call_ends() -> None:
    work, release = BlockingWork(), threading.Event()
    waiter = asyncio.create_task(work.run("pod", "mounting", release.wait, deadline_seconds=30))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert work.in_flight("pod") is not None
    release.set()
    await _until_free(work, "pod")
    assert work.in_flight("pod") is None


async def _until_free(work: BlockingWork, key: str) -> None:
    """The thread has been let go: its end reaches the loop soon."""
    for _ in range(5000):
        if work.in_flight(key) is None:
            return
        await asyncio.sleep(0.001)


async def test_a_call_that_nobody_waits_for_any_more_goes_first() -> None:
    work, release, order = BlockingWork(), threading.Event(), list[str]()

    def mount() -> None:
        release.wait()
        order.append("mounted")

    waiter = asyncio.create_task(work.run("pod", "mounting", mount, deadline_seconds=30))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    next_one = asyncio.create_task(
        work.run("pod", "unmounting", lambda: order.append("unmounted"), deadline_seconds=30)
    )
    await asyncio.sleep(0.01)
    assert order == []
    release.set()
    await next_one
    assert order == ["mounted", "unmounted"]
