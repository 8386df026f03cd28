"""The calls in flight for one pod: each action a task of its own, with a timer for the one that hangs.

Runs tasks; IO is the executor's. Made by a pod's lane, which says what to start and is told how each ended. A
call that hangs stops neither the lane nor another call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.pods.actions import Action
from agent.pods.execute import Executor, PodView
from agent.pods.outcomes import ActionResult
from agent.pods.overdue import compute_overdue_at
from agent.pods.ports import Unavailable
from agent.runtime.errors import RuntimeServiceError
from kubeapi.errors import KubeAPIError

_logger = logging.getLogger(__name__)

_EXPECTED: Final = (RuntimeServiceError, Unavailable, KubeAPIError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that returned, failed, or was given up; `began_at` in seconds since the epoch."""

    action: Action
    began_at: float
    result: ActionResult = None
    error: Exception | None = None
    given_up: bool = False


class PodCalls:
    """`on_overdue` and `on_end` are called on the event loop, never from within `start`."""

    def __init__(
        self,
        executor: Executor,
        now: Callable[[], float],
        on_overdue: Callable[[Action], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        self._executor = executor
        self._now = now
        self._on_overdue = on_overdue
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[Ended]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self, action: Action, view: PodView) -> None:
        """`view.progress` has the call in flight already; no other of its key may be."""
        call = view.progress.in_flight[action.key]
        loop = asyncio.get_running_loop()
        patience = compute_overdue_at(call) - self._now()
        self._timers[action.key] = loop.call_later(patience, self._on_overdue, action)
        task = loop.create_task(
            self._carry_out(action, view, call.since), name=f"{call.what} of {view.pod.key}"
        )
        self._tasks[action.key] = task
        task.add_done_callback(lambda done: self._finish(action, call.since, done))

    def give_up(self, key: str) -> None:
        """Cancels the call of that key, which then ends."""
        self._tasks[key].cancel()

    def give_up_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _carry_out(self, action: Action, view: PodView, began_at: float) -> Ended:
        try:
            result = await self._executor.execute(action, view)
        except _EXPECTED as error:
            return Ended(action, began_at, error=error)
        except Exception as error:
            fields = {"pod": str(view.pod.key), "uid": view.pod.uid, "action": str(action)}
            _logger.exception("an action ended in an unexpected error", extra=fields)
            return Ended(action, began_at, error=error)
        return Ended(action, began_at, result)

    def _finish(self, action: Action, began_at: float, done: asyncio.Task[Ended]) -> None:
        del self._tasks[action.key]
        self._timers.pop(action.key).cancel()
        self._on_end(Ended(action, began_at, given_up=True) if done.cancelled() else done.result())
