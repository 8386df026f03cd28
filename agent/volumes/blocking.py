"""Runs file-system work that may hang, so that only its own pod waits.

IO: one thread for each piece of work. Called by `source`. The event loop's own pool isn't used: a few hung
mounts would fill it, and then every other pod would wait too. A thread can't be ended, so a key whose work
hangs is refused until that work returns: there are never two attempts in flight.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

ResultT = TypeVar("ResultT")


class WorkHangs(Exception):
    """The work for this key hasn't come back within its deadline, now or since an earlier attempt."""


@dataclass(frozen=True, slots=True)
class InFlight:
    what: str
    since: float


class BlockingWork:
    def __init__(self) -> None:
        self._in_flight: dict[Hashable, InFlight] = {}

    def in_flight(self, key: Hashable) -> InFlight | None:
        """The call that the key waits for now; `since` is on the event loop's clock."""
        return self._in_flight.get(key)

    async def run(
        self, key: Hashable, what: str, call: Callable[[], ResultT], *, deadline_seconds: float
    ) -> ResultT:
        """The call's result or error; raises WorkHangs after the deadline and while an older call hangs."""
        loop = asyncio.get_running_loop()
        if (older := self._in_flight.get(key)) is not None:
            seconds = round(loop.time() - older.since)
            raise WorkHangs(f"{older.what} has not returned for {seconds} s; something below it hangs")
        self._in_flight[key] = InFlight(what, loop.time())
        outcome: asyncio.Future[ResultT] = loop.create_future()
        outcome.add_done_callback(lambda _: self._in_flight.pop(key, None))
        outcome.add_done_callback(_retrieve)
        threading.Thread(
            target=_run_call, args=(loop, outcome, call), name=f"blocking-{key}", daemon=True
        ).start()
        # asyncio.wait gives up without touching the future: the key stays taken until the thread ends.
        done, _ = await asyncio.wait({outcome}, timeout=deadline_seconds)
        if not done:
            raise WorkHangs(f"{what} has not returned for {deadline_seconds:g} s; something below it hangs")
        return outcome.result()


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
