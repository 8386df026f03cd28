"""Keeps the agent's loops going: one that fails is logged and started again, and nothing else stops for it.

Runs tasks, no other IO. Called by `agent.app`, once for each loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from kubeapi.backoff import Backoff

_logger = logging.getLogger(__name__)

_RESTART: Final = Backoff(initial_seconds=0.5, maximum_seconds=30.0)
_HEALTHY_SECONDS: Final = 60.0


async def supervise(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs it to its end, again after each failure, with a back-off; cancellation passes."""
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        started = loop.time()
        try:
            await run()
        except Exception:
            failures = 0 if loop.time() - started > _HEALTHY_SECONDS else failures + 1
            delay = _RESTART.delay(failures, random.random())
            _logger.exception("a loop failed and starts again", extra={"loop": name, "delay_seconds": delay})
            await asyncio.sleep(delay)
        else:
            return
