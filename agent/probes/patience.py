"""Gives an attempt its time, without the time in which the agent itself stood still.

IO: none but the loop's clock. Called by `check`. An event loop that was late (a busy machine, a stopped
process) has not given the other side its time, however late it is: what it missed is given on top.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from agent.probes.loop_lag import LagMeasurement

_NOISE_SECONDS: Final = 0.02
_MOST_ROUNDS: Final = 10

ResultT = TypeVar("ResultT")


class AgentDelayed(Exception):
    """The loop stands still so often that nothing can be said."""


async def run_within(attempt: Coroutine[Any, Any, ResultT], seconds: float, lag: LagMeasurement) -> ResultT:
    """What the attempt returns or raises; raises TimeoutError once it had its time, and AgentDelayed."""
    task = asyncio.ensure_future(attempt)
    left, forgiven = seconds, lag.seconds()
    try:
        for _ in range(_MOST_ROUNDS):
            done, _ = await asyncio.wait({task}, timeout=left)
            if done:
                return task.result()
            # One timeout at a time: after a long stop, an answer that lies there is read at once.
            left = min(lag.seconds() - forgiven, seconds)
            forgiven = lag.seconds()
            if left < _NOISE_SECONDS:
                raise TimeoutError
        raise AgentDelayed
    finally:
        task.cancel()
        await asyncio.wait({task})
