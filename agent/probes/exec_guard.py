"""Runs a command in a container so that nothing of it goes on once its time is over.

IO: the runtime's ExecSync, and a `CommandWatch`. Called by `check` and by `agent.pods.hooks`. At the end of
the time containerd (1.6 to 2) kills the command's first process and nothing else: its children go on, hold
its output open and with that the call. So the container is looked at shortly before the end, and what is left
of the command is killed once the runtime has killed the first process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Final, Protocol

from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.exec_watch import CommandWatch, ContainerProcesses
from agent.runtime.errors import RuntimeDeadlineExceeded
from agent.runtime.values import ExecResult

_log = logging.getLogger(__name__)

_EARLY_LOOK: Final = 0.4  # of the time: a late one may come too late on a busy machine
_LATE_LOOK_SECONDS: Final = 0.15  # before the end
_RUNTIME_LATE_SECONDS: Final = 0.1
_PAUSES: Final = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8, 0.8, 0.8)
_LONGEST_CANCEL_PAUSE: Final = 0.2
_SAME_END_SECONDS: Final = 2.0
_OWN_DEADLINE_SECONDS: Final = 4.0  # the call's own comes a second later


class ExecTimedOut(Exception):
    """The command had all of its time and didn't end; nothing of it goes on."""


class ExecService(Protocol):
    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult: ...


class ExecGuard:
    """Without `processes`, what the runtime leaves alive goes on."""

    def __init__(self, runtime: ExecService, processes: ContainerProcesses | None = None) -> None:
        self._runtime = runtime
        self._processes = processes
        self._ends: dict[ContainerID, list[float]] = {}

    async def run(self, target: ProbeTarget, command: tuple[str, ...], seconds: float) -> ExecResult:
        """The command's end. Raises ExecTimedOut, or RuntimeServiceError where the runtime got in the way."""
        begun = asyncio.get_running_loop().time()
        watch = CommandWatch(self._processes, target) if self._processes is not None else None
        with self._counted(target.container_id, begun + seconds):
            call = asyncio.ensure_future(self._runtime.exec_sync(target.container_id, command, seconds))
            try:
                killed = await self._watch(call, watch, target, begun + seconds, seconds)
                return await _take_answer(call, killed, begun, seconds)
            finally:
                call.cancel()
                await asyncio.wait({call})

    async def _watch(
        self,
        call: asyncio.Future[ExecResult],
        watch: CommandWatch | None,
        target: ProbeTarget,
        end: float,
        seconds: float,
    ) -> bool:
        """Returns once the call has ended and nothing of the command is left; whether anything was killed."""
        for before in ((1 - _EARLY_LOOK) * seconds, min(_LATE_LOOK_SECONDS, seconds / 4)):
            await _wait(call, end - before)
            if call.done():
                break
            if watch is not None:
                await watch.look()
        # Where we come late ourselves, the answer may lie there unread.
        await _wait(call, max(end, asyncio.get_running_loop().time()) + _RUNTIME_LATE_SECONDS)
        if not call.done() and not seconds.is_integer():
            call.cancel()  # the runtime counts whole seconds; what nobody waits for it kills at once
            await asyncio.wait({call})
        if watch is None or (call.done() and not _is_out_of_time(call)):
            return False
        return await self._kill_rest(call, watch, target, end)

    async def _kill_rest(
        self, call: asyncio.Future[ExecResult], watch: CommandWatch, target: ProbeTarget, end: float
    ) -> bool:
        total = 0
        for pause in _PAUSES:
            due = sum(abs(other - end) < _SAME_END_SECONDS for other in self._ends[target.container_id])
            killed, running = await watch.kill_rest(due)
            total += killed
            if call.cancelled():
                if (not killed and not running) or pause > _LONGEST_CANCEL_PAUSE:
                    break
                await asyncio.sleep(pause)  # the runtime kills it behind our back
            elif not killed and call.done():
                break
            else:
                await _wait(call, asyncio.get_running_loop().time() + pause)
        if total:
            fields = {"container": target.container.name, "pod": str(target.pod.key), "processes": total}
            _log.info("killed what was left of a command whose time was over", extra=fields)
        return total > 0

    @contextlib.contextmanager
    def _counted(self, container_id: ContainerID, end: float) -> Iterator[None]:
        """Among the calls of ours for this container, for as long as the block runs."""
        ends = self._ends.setdefault(container_id, [])
        ends.append(end)
        try:
            yield
        finally:
            ends.remove(end)
            if not ends:
                self._ends.pop(container_id, None)


async def _wait(call: asyncio.Future[ExecResult], until: float) -> None:
    left = until - asyncio.get_running_loop().time()
    if left > 0 and not call.done():
        await asyncio.wait({call}, timeout=left)


def _is_out_of_time(call: asyncio.Future[ExecResult]) -> bool:
    return call.cancelled() or isinstance(call.exception(), RuntimeDeadlineExceeded)


async def _take_answer(
    call: asyncio.Future[ExecResult], killed: bool, begun: float, seconds: float
) -> ExecResult:
    """A deadline that only we saw pass says nothing of the command: the runtime didn't answer."""
    await asyncio.wait({call})
    if not killed and not _is_out_of_time(call):
        return call.result()
    took = asyncio.get_running_loop().time() - begun
    if call.cancelled() or killed or seconds * 0.9 <= took < seconds + _OWN_DEADLINE_SECONDS:
        raise ExecTimedOut
    return call.result()
