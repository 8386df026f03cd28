"""Stops a container with a signal of the pod's choice, on a runtime that only knows the image's.

IO: two CRI calls, and a signal to the container's first process. Called by `agent.pods.execute` where a
container names a stopSignal that the runtime doesn't report as its own. KEP-4960 has the runtime do this.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from typing import Final

from agent.pods.ports import ContainerID
from agent.runtime.service import RuntimeService

_REAL_TIME: Final = re.compile(r"SIGRT(MIN|MAX)(?:([+-])(\d+))?")


def parse_signal(name: str) -> int | None:
    """The number of a signal as the pod API spells it: SIGUSR1, SIGRTMIN+3; None for any other text. Pure."""
    if (match := _REAL_TIME.fullmatch(name)) is not None:
        base = signal.SIGRTMIN if match[1] == "MIN" else signal.SIGRTMAX
        offset = int(match[3] or 0) * (-1 if match[2] == "-" else 1)
        number = base + offset
        return int(number) if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None
    found = getattr(signal.Signals, name, None) if name.isalnum() else None
    return int(found) if found is not None else None


async def stop_with_signal(
    runtime: RuntimeService, container_id: ContainerID, name: str, timeout_seconds: int
) -> None:
    """The signal, then SIGKILL once the time is over; as the runtime itself stops it, where it doesn't tell
    which process that is. Raises RuntimeServiceError.
    """
    number = parse_signal(name)
    process = await _open_process(runtime, container_id) if number is not None else None
    if number is None or process is None:
        await runtime.stop_container(container_id, timeout_seconds)
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number)
            await _wait_for_end(process, timeout_seconds)
    finally:
        os.close(process)
    await runtime.stop_container(container_id, 0)


async def _open_process(runtime: RuntimeService, container_id: ContainerID) -> int | None:
    """A descriptor of the container's first process, whose number nobody else has taken meanwhile."""
    pid = await runtime.read_container_pid(container_id)
    if pid is None:
        return None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if await runtime.read_container_pid(container_id) == pid:
        return process
    os.close(process)
    return None


async def _wait_for_end(process: int, timeout_seconds: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process, ended.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await ended.wait()
    finally:
        loop.remove_reader(process)
