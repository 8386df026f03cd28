"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, and every run is the same.

Used by the simulations of the agent. Nothing may use threads or sockets under it: waiting for those has no
timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

EPOCH = 1_767_323_045.0  # the wall clock at the loop's time 0


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never comes: no timer is left")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Like asyncio.run, on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def wall_clock() -> float:
    """Seconds since the epoch, by the running loop's clock."""
    return EPOCH + asyncio.get_running_loop().time()
