"""Commands that don't end in time, run on this machine as a runtime would in a container.

The stand-in does what containerd does: at the end of the time it kills the first process alone, and answers
once nobody holds the output any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.exec_guard import ExecGuard, ExecTimedOut
from agent.runtime.errors import RuntimeDeadlineExceeded
from agent.runtime.values import ExecResult
from kubeapi.pod import PodUID
from tests.builders import container, pod
from tests.simulation.agent.virtual_time import run_virtually

_SLACK_SECONDS = 5.0  # as the real client's
_MARK = "BERTH_TEST_CONTAINER"


class _Machine:
    """A container is all processes that have its mark in their environment."""

    def __init__(self) -> None:
        self.mark = f"{_MARK}={uuid.uuid4()}"

    def list_container_processes(self, uid: PodUID, container_id: str) -> frozenset[int]:
        return frozenset(int(d.name) for d in Path("/proc").iterdir() if d.name.isdigit() and self._has(d))

    def _has(self, directory: Path) -> bool:
        try:
            return self.mark.encode() in (directory / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def count_running(self, *command: str) -> int:
        """A process that is just being replaced by its program has no environment for a moment."""
        wanted = "\0".join((*command, "")).encode()
        pids = self.list_container_processes(PodUID(""), "")
        return sum(_read_command(pid) == wanted for pid in pids)

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        name, _, value = self.mark.partition("=")
        return await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, name: value},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        await asyncio.sleep(0.03)  # a runtime has its own work first
        process = await self.start(*command)
        timer = asyncio.get_running_loop().call_later(timeout_seconds, process.kill)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(timeout_seconds + _SLACK_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise RuntimeDeadlineExceeded("no answer") from error
        finally:
            timer.cancel()
            if process.returncode is None:
                process.kill()
        if time.monotonic() - begun >= timeout_seconds:
            raise RuntimeDeadlineExceeded("ran out of time inside the runtime")
        return ExecResult(output, b"", process.returncode or 0)


def _read_command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
async def machine() -> AsyncIterator[_Machine]:
    """With the container's own processes, which have a child and a session of their own."""
    machine = _Machine()
    main = await machine.start("sh", "-c", "setsid sleep 100 & sleep 100 & wait")
    async with asyncio.timeout(10):
        while machine.count_running("sleep", "100") < 2:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)
    yield machine
    for pid in machine.list_container_processes(PodUID(""), ""):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await main.communicate()


_TARGET = ProbeTarget(pod(), container(), ContainerID("c1"), "127.0.0.1", 0.0)


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ("sleep 100", 1.0),
        ("sleep 100 & sleep 100", 1.0),
        ("sleep 100 & sleep 100", 0.7),  # runtimes count whole seconds
        ("(setsid sleep 100 & sleep 100) & sleep 100 & wait", 1.0),
        ("sleep 100 &", 1.0),  # the first process ends at once, and only the output is held open
    ],
)
async def test_nothing_of_a_command_goes_on_and_nothing_else_ends(
    machine: _Machine, script: str, seconds: float
) -> None:
    before = machine.list_container_processes(PodUID(""), "")
    guard = ExecGuard(machine, machine)
    begun = time.monotonic()
    with pytest.raises(ExecTimedOut):
        await guard.run(_TARGET, ("sh", "-c", script), seconds)
    assert seconds <= time.monotonic() - begun < seconds + 3
    async with asyncio.timeout(5):
        while machine.list_container_processes(PodUID(""), "") != before:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


async def test_two_at_once_of_which_one_has_more_time(machine: _Machine) -> None:
    before = machine.list_container_processes(PodUID(""), "")
    guard = ExecGuard(machine, machine)
    command = ("sh", "-c", "sleep 1.6 & sleep 1.6; echo done")
    short, long = await asyncio.gather(
        guard.run(_TARGET, command, 1.0), guard.run(_TARGET, command, 6.0), return_exceptions=True
    )
    assert isinstance(short, ExecTimedOut)
    assert long == ExecResult(b"done\n", b"", 0)
    assert machine.list_container_processes(PodUID(""), "") == before


async def test_a_command_that_ends_in_time_may_leave_something_behind(machine: _Machine) -> None:
    before = machine.list_container_processes(PodUID(""), "")
    script = "setsid sleep 100 >/dev/null 2>&1 & sleep 0.8; exit 3"
    result = await ExecGuard(machine, machine).run(_TARGET, ("sh", "-c", script), 1.5)
    assert result.exit_code == 3
    assert len(machine.list_container_processes(PodUID(""), "") - before) == 1


def test_a_runtime_that_never_answers_says_nothing_of_the_command() -> None:
    class Silent:
        async def exec_sync(
            self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
        ) -> ExecResult:
            await asyncio.sleep(timeout_seconds + _SLACK_SECONDS)
            raise RuntimeDeadlineExceeded("no answer")

    with pytest.raises(RuntimeDeadlineExceeded):
        run_virtually(ExecGuard(Silent()).run(_TARGET, ("true",), 1.0))


async def test_a_runtime_that_gives_up_early_says_nothing_of_the_command() -> None:
    class Restarting:
        async def exec_sync(
            self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
        ) -> ExecResult:
            raise RuntimeDeadlineExceeded("context canceled")

    with pytest.raises(RuntimeDeadlineExceeded):
        await ExecGuard(Restarting()).run(_TARGET, ("true",), 1.0)


def test_a_hook_that_a_runtime_never_answers_ends_in_its_time() -> None:
    class Silent:
        async def exec_sync(
            self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
        ) -> ExecResult:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    async def measure() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(ExecTimedOut):
            await ExecGuard(Silent()).run(_TARGET, ("true",), 1.5)
        return loop.time() - begun

    assert 1.5 <= run_virtually(measure()) < 2.0
