"""The one loop that every controller runs in: take a key, look, plan, apply; retry what failed with
back-off.

Does IO through the reconciler's look and the executor. Started by `controlplane.controllers.app`, one for
each controller. Looks at different keys run in parallel, looks at one key never do. Whoever plans sees the
controllers' own writes: what is unsure in the caches is looked up first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Final, Generic, Protocol, TypeVar

from controlplane.controllers.actions import Plan
from controlplane.controllers.execute import Executor
from controlplane.controllers.work_queue import WorkQueue
from kubeapi.backoff import Backoff
from kubeapi.errors import ApiStatusError, KubeAPIError

_logger = logging.getLogger(__name__)

KeyT = TypeVar("KeyT", bound=Hashable)
RETRY_BACKOFF: Final = Backoff(initial_seconds=0.01, maximum_seconds=60.0)


def read_clock() -> datetime:
    return datetime.now(UTC)


class Reconciler(Protocol[KeyT]):
    """One controller: what it looks at, and its plan."""

    name: str
    queue: WorkQueue[KeyT]

    def subscribe(self) -> None:
        """Has the caches tell which keys need a look."""
        ...

    async def look(self, key: KeyT, now: datetime, last_failure: str) -> Plan:
        """Observe and plan; `last_failure` is the message of this key's last refusal, if it still stands."""
        ...


class ReconcileLoop(Generic[KeyT]):
    """Runs one reconciler until cancelled."""

    def __init__(
        self,
        reconciler: Reconciler[KeyT],
        executor: Executor,
        *,
        workers: int,
        clock: Callable[[], datetime] = read_clock,
        random_source: Callable[[], float] = random.random,
    ) -> None:
        self._reconciler = reconciler
        self._queue = reconciler.queue
        self._executor = executor
        self._workers = workers
        self._clock = clock
        self._random = random_source
        self._failures: dict[KeyT, tuple[int, str]] = {}

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._workers):
                    tasks.create_task(self._work())
        finally:
            self._queue.close()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._reconcile(key)
            except ApiStatusError as error:
                self._retry(key, error, expected=error.is_conflict or error.is_already_exists)
            except KubeAPIError as error:
                self._retry(key, error, expected=False)
            except Exception as error:
                _logger.exception(
                    "A controller's look at an object failed",
                    extra={"controller": self._reconciler.name, "object": str(key)},
                )
                self._retry(key, error, expected=True)
            finally:
                self._queue.done(key)

    async def _reconcile(self, key: KeyT) -> None:
        await self._executor.settle()
        _, last_failure = self._failures.get(key, (0, ""))
        plan = await self._reconciler.look(key, self._clock(), last_failure)
        await self._executor.apply(plan.actions)
        if plan.look_again_seconds is not None:
            self._queue.add_after(key, plan.look_again_seconds)
        if self._failures.pop(key, (0, ""))[1]:
            # What the failure left in the object's status can now be taken back.
            self._queue.add(key)

    def _retry(self, key: KeyT, error: Exception, *, expected: bool) -> None:
        """`expected` failures are races with other writers: silent, and no fault of the object's."""
        attempts, message = self._failures.get(key, (0, ""))
        self._failures[key] = (attempts + 1, message if expected else str(error))
        delay = RETRY_BACKOFF.delay(attempts, self._random())
        if isinstance(error, ApiStatusError) and error.retry_after_seconds:
            delay = max(delay, error.retry_after_seconds)
        if not expected:
            _logger.warning(
                "A controller could not carry out its plan; it is tried again",
                extra={
                    "controller": self._reconciler.name,
                    "object": str(key),
                    "error": str(error),
                    "attempt": attempts + 1,
                    "delay_seconds": round(delay, 3),
                },
            )
        self._queue.add_after(key, delay)
