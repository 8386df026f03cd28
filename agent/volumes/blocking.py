"""Runs file-system work that may hang, so that only what waits for it waits.

IO: one thread for each piece of work. Called by `source` and `agent.pods.pod_files`. The event loop's own
pool isn't used: a few hung mounts would fill it, and then every other pod would wait too. A thread can't be
ended, so a key whose work hangs is refused until that work returns: there are never two attempts in flight.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class WorkHangs(Exception):
    """The work for this key hasn't come back within its deadline, now or since an earlier attempt."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A call that hasn't returned; `since` is on the event loop's clock."""

    what: str
    since: float


@dataclass(frozen=True, slots=True)
class _Running:
    call: InFlight
    outcome: asyncio.Future[Any]
    deadline_seconds: float


class BlockingWork:
    def __init__(self) -> None:
        self._running: dict[Hashable, _Running] = {}

    def in_flight(self, key: Hashable) -> InFlight | None:
        """The call that the key waits for now."""
        running = self._running.get(key)
        return running.call if running is not None else None

    async def run(
        self, key: Hashable, what: str, call: Callable[[], ResultT], *, deadline_seconds: float
    ) -> ResultT:
        """The call's result or error; raises WorkHangs after the deadline and while an older call hangs.

        An older call of the key that has time left, such as one that nobody waits for any more, goes first.
        """
        while (older := self._running.get(key)) is not None:
            await self._wait_for(older)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[ResultT] = loop.create_future()
        running = self._running[key] = _Running(InFlight(what, loop.time()), outcome, deadline_seconds)
        outcome.add_done_callback(lambda _: self._running.pop(key, None))
        outcome.add_done_callback(_retrieve)
        threading.Thread(
            target=_run_call, args=(loop, outcome, call), name=f"blocking-{key}", daemon=True
        ).start()
        await self._wait_for(running)
        return outcome.result()

    async def _wait_for(self, running: _Running) -> None:
        now = asyncio.get_running_loop().time()
        left = running.call.since + running.deadline_seconds - now
        if left > 0 or running.outcome.done():
            # asyncio.wait gives up without touching the future: the key stays taken until the thread ends.
            await asyncio.wait({running.outcome}, timeout=max(left, 0.0))
        if not running.outcome.done():
            seconds = round(max(now - running.call.since, running.deadline_seconds))
            raise WorkHangs(f"{running.call.what} has not returned for {seconds} s; something below it hangs")


def _run_call(
    loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[ResultT], call: Callable[[], ResultT]
) -> None:
    try:
        result = call()
    except BaseException as error:
        _post(loop, outcome.set_exception, error)
    else:
        _post(loop, outcome.set_result, result)


def _post(loop: asyncio.AbstractEventLoop, deliver: Callable[[ResultT], None], value: ResultT) -> None:
    # After the loop's end nobody waits any more.
    if not loop.is_closed():
        loop.call_soon_threadsafe(deliver, value)


def _retrieve(outcome: asyncio.Future[ResultT]) -> None:
    """Marks the error as seen, which may come after everybody stopped waiting."""
    if not outcome.cancelled():
        outcome.exception()
