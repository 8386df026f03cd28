"""Measures how late the event loop runs while somebody wants to know.

IO: none but the loop's clock and timers. Called by `check`: a deadline that passed while the loop itself
stood still says nothing of the other side. Ticks only while a measurement is open, so that an idle agent
isn't woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_TICK_SECONDS: Final = 0.05


class LagMeasurement:
    """How long the loop stood still since the measurement began."""

    def __init__(self, meter: LoopLag) -> None:
        self._meter = meter
        self._begun = meter.total()

    def seconds(self) -> float:
        return self._meter.total() - self._begun


class LoopLag:
    def __init__(self) -> None:
        self._open = 0
        self._accumulated = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def measure(self) -> Iterator[LagMeasurement]:
        """A measurement for as long as the block runs."""
        self._open += 1
        if self._timer is None:
            self._schedule()
        try:
            yield LagMeasurement(self)
        finally:
            self._open -= 1
            if self._open == 0 and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def total(self) -> float:
        """Lag of the past ticks, and of the present one if it is overdue."""
        return self._accumulated + max(asyncio.get_running_loop().time() - self._due, 0.0)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _TICK_SECONDS
        self._timer = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._accumulated = self.total()
        self._schedule()
