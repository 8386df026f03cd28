"""Calls to the fake runtime: their record, the faults they meet, what becomes of them when their caller has
gone, and the names that they reserve.

Pure but for the event loop's clock. `fake_runtime` says what a call does. A script makes calls fail before or
after their effect, hang, or take so long that their caller gives up.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.runtime.errors import (
    RuntimeDeadlineExceeded,
    RuntimeNameReserved,
    RuntimeReadyOnRetry,
    RuntimeServiceError,
    RuntimeUnavailable,
)
from kubeapi.pod import PodUID
from tests.fakes.runtime_faults import Abandoned, Fault

_UNCLAIMED_SECONDS = 60.0

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Unclaimed:
    """What a call that lost its caller makes, kept for the next one with the same name."""

    work: asyncio.Task[Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    rpc: str
    target: str
    at: float


@dataclass(slots=True)
class RuntimeCalls(abc.ABC):
    """`now` is the clock that states follow; `latency_seconds` pass in each changing call before its effect.

    `slow_seconds` is asked how long a slow call takes, `rollback_seconds` how long undoing one does. `caller`
    counts the agents that call, so that `refused_names` tells who met a reserved name.
    """

    now: Callable[[], float]
    latency_seconds: float = 0.0
    abandoned: Abandoned = Abandoned.GOES_ON
    slow_seconds: Callable[[], float] = lambda: 300.0
    rollback_seconds: Callable[[], float] = lambda: 0.0
    caller: int = 0
    calls: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    refused_names: list[tuple[int, str]] = field(default_factory=list)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    on_call: Callable[[str, str], Fault | None] | None = None
    on_done: Callable[[str, str], bool] | None = None
    _reserved: dict[str, str] = field(default_factory=dict)
    _makers: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    _unclaimed: dict[str, _Unclaimed] = field(default_factory=dict)
    _attempts: dict[tuple[int, str], int] = field(default_factory=dict)
    _works: set[asyncio.Task[Any]] = field(default_factory=set)
    _next: int = 0

    def fail_next(self, rpc: str, *faults: Fault | None) -> None:
        """The next calls of this RPC meet these faults in turn; None is a call that goes well."""
        self.faults.setdefault(rpc, []).extend(faults)

    def count(self, rpc: str) -> int:
        return sum(1 for call in self.calls if call.rpc == rpc)

    @property
    def busy(self) -> bool:
        """Whether a call that will end is still under way, or its outcome is kept for somebody."""
        return bool(self._works or self._unclaimed)

    # --- a call, from its caller's side ---------------------------------------------------------------------

    async def _serve(
        self,
        rpc: str,
        target: str,
        work: Callable[[Fault | None], Coroutine[Any, Any, ResultT]],
        seconds: float,
    ) -> ResultT:
        """Records the call, meets its fault, and works in a task of its own that its caller may abandon."""
        self.calls.append(Call(rpc, target, self.now()))
        script = self.faults.get(rpc)
        fault = script.pop(0) if script else (self.on_call(rpc, target) if self.on_call else None)
        match fault:
            case Fault.REFUSED:
                raise RuntimeServiceError(f"{rpc}: scripted refusal")
            case Fault.UNAVAILABLE:
                raise RuntimeUnavailable(f"{rpc}: scripted broken connection")
            case Fault.HANG:
                await asyncio.sleep(seconds)
                raise RuntimeDeadlineExceeded(f"{rpc}: scripted hang")
        task = asyncio.get_running_loop().create_task(work(fault))
        self._works.add(task)
        task.add_done_callback(self._forget_work)
        try:
            async with asyncio.timeout(seconds):
                result = await asyncio.shield(task)
        except TimeoutError:
            self._abandon(target, task)
            raise RuntimeDeadlineExceeded(f"{rpc}: no answer in {seconds} s") from None
        except asyncio.CancelledError:
            self._abandon(target, task)
            raise
        if self.on_done is not None and self.on_done(rpc, target):
            await asyncio.sleep(1)  # its caller dies before the answer
        if fault is Fault.LOST_ANSWER:
            raise RuntimeDeadlineExceeded(f"{rpc}: scripted lost answer")
        return result

    def _forget_work(self, task: asyncio.Task[Any]) -> None:
        self._works.discard(task)
        if not task.cancelled():
            task.exception()

    def _abandon(self, target: str, task: asyncio.Task[Any]) -> None:
        if self.abandoned is Abandoned.ROLLS_BACK:
            task.cancel()
        elif self.abandoned is Abandoned.KEEPS and self._makers.get(target) is task:
            self._unclaimed[target] = _Unclaimed(task)
            task.add_done_callback(lambda _: self._expire(target))
        elif self.abandoned is Abandoned.KEEPS and target in self._unclaimed:
            task.cancel()  # it only waited

    def _expire(self, name: str) -> None:
        asyncio.get_running_loop().call_later(_UNCLAIMED_SECONDS, self._drop_unclaimed, name)

    def _drop_unclaimed(self, name: str) -> None:
        if (unclaimed := self._unclaimed.pop(name, None)) is not None and unclaimed.id:
            self._discard(unclaimed.id)
            self._reserved.pop(name, None)

    @abc.abstractmethod
    def _discard(self, id_: str) -> None:
        """What was made and nobody asked for goes."""

    async def _pass(self, fault: Fault | None) -> None:
        seconds = self.slow_seconds() if fault is Fault.SLOW else self.latency_seconds
        if seconds:
            await asyncio.sleep(seconds)

    def _new_id(self) -> str:
        self._next += 1
        return f"{self._next:064x}"

    # --- names ----------------------------------------------------------------------------------------------

    async def _claim(self, name: str) -> str | None:
        """What an earlier call made for this name and nobody got; raises while it is being made."""
        unclaimed = self._unclaimed.get(name)
        if unclaimed is None:
            return None
        if not unclaimed.work.done():
            await asyncio.wait({unclaimed.work})
            if unclaimed.id:
                self.refused_names.append((self.caller, name))
                raise RuntimeReadyOnRetry(f"{name} will be provided on next retry: name is reserved")
        self._unclaimed.pop(name, None)
        return unclaimed.id or None

    def _reserve(self, name: str) -> None:
        if name in self._reserved:
            self.refused_names.append((self.caller, name))
            raise RuntimeNameReserved(f'name "{name}" is reserved for another one')
        self._reserved[name] = ""
        if (maker := asyncio.current_task()) is not None:
            self._makers[name] = maker

    async def _roll_back(self, name: str) -> None:
        """The caller has gone: it takes a while until the name is free."""
        await asyncio.sleep(self.rollback_seconds())
        self._reserved.pop(name, None)

    def _is_hidden(self, id_: str) -> bool:
        return any(unclaimed.id == id_ for unclaimed in self._unclaimed.values())

    def _note_made(self, name: str, id_: str) -> None:
        self._reserved[name] = id_
        if (unclaimed := self._unclaimed.get(name)) is not None:
            unclaimed.id = id_

    def _check_attempt(self, series: str, attempt: int) -> None:
        """Attempts of one agent only grow."""
        if self._attempts.get((self.caller, series), -1) > attempt:
            self.violations.append(f"attempt {attempt} of {series} comes after a higher one")
        self._attempts[self.caller, series] = attempt

    def _forget_attempts(self, uid: PodUID) -> None:
        """Nothing of the pod is left: it may begin anew."""
        self._attempts = {
            key: attempt for key, attempt in self._attempts.items() if not key[1].startswith(f"{uid}/")
        }
