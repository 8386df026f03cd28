"""Looks at the processes of one container while a command runs in it, and kills what that leaves behind.

IO: /proc and signals, in threads; each look takes a millisecond or two. Made by `exec_guard` for each
command; which processes are the command's is `exec_tree`'s knowledge. A process is killed through a pidfd,
and only while it is the very one that was looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from agent.pods.ports import ProbeTarget
from agent.probes.exec_tree import (
    Process,
    Processes,
    choose_doomed,
    find_commands,
    find_leaderless,
    is_alive,
    parse_process,
)
from kubeapi.pod import PodUID

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OUTPUTS: Final = ("1", "2")


class ContainerProcesses(Protocol):
    def list_container_processes(self, uid: PodUID, container_id: str) -> frozenset[int]:
        """Process ids on this host; called in a thread."""


class CommandWatch:
    """Made when the command begins."""

    def __init__(self, source: ContainerProcesses, target: ProbeTarget) -> None:
        self._source = source
        self._target = target
        # The next tick: what began in this one may have been there already, and no runtime is that quick.
        self._since = int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS) + 1
        self._commands: dict[int, Process] = {}
        self._seen: set[Process] = set()

    async def look(self) -> None:
        """Remembers what runs now."""
        await asyncio.to_thread(self._look)

    async def kill_rest(self, due: int) -> tuple[int, bool]:
        """How many processes were killed of commands that have ended, and whether any command still runs.

        `due` is `choose_doomed`'s.
        """
        return await asyncio.to_thread(self._kill_rest, due)

    def _look(self) -> None:
        processes = self._read_processes()
        for command in find_commands(processes, self._since):
            self._commands.setdefault(command.pid, command)
        for command, members in find_leaderless(processes, self._since).items():
            if command.pid not in self._commands and _has_outside_reader(members, processes):
                self._commands[command.pid] = command
        self._seen.update(process for process in processes.values() if process.started >= self._since)

    def _kill_rest(self, due: int) -> tuple[int, bool]:
        self._look()
        present = self._read_processes()
        doomed = choose_doomed(self._commands.values(), self._seen, present, due)
        running = any(is_alive(command, present) for command in self._commands.values())
        return sum(_kill(process) for process in doomed), running

    def _read_processes(self) -> Processes:
        pids = self._source.list_container_processes(self._target.pod.uid, self._target.container_id)
        return {process.pid: process for process in _read_all(pids)}


def _read_all(pids: Iterable[int]) -> Iterator[Process]:
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
            yield parse_process((_PROC / str(pid) / "stat").read_text(errors="replace"))


def _kill(process: Process) -> bool:
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle keeps the number from meaning another process, from here on.
        if not any(found.started == process.started for found in _read_all([process.pid])):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def _has_outside_reader(members: Iterable[Process], processes: Processes) -> bool:
    """Whether they write to a pipe that nobody in the container reads: the runtime does, as with every
    command. A daemon of the container's own writes to its files, or to the container's own output.
    """
    written = {link for member in members for link in _read_outputs(member.pid)}
    older = (process for process in processes.values() if process not in members)
    written -= {link for process in older for link in _read_outputs(process.pid)}
    return bool(written - _list_read_pipes(processes))


def _read_outputs(pid: int) -> Iterator[str]:
    for number in _OUTPUTS:
        with contextlib.suppress(OSError):
            link = os.readlink(_PROC / str(pid) / "fd" / number)
            if link.startswith("pipe:"):
                yield link


def _list_read_pipes(pids: Iterable[int]) -> frozenset[str]:
    """The pipes of which one of these processes holds the end that is read."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in os.scandir(_PROC / str(pid) / "fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(entry.path)
                    # A descriptor that is open for reading alone has r-x, one for writing alone -wx.
                    if link.startswith("pipe:") and entry.stat(follow_symlinks=False).st_mode & 0o400:
                        found.add(link)
    return frozenset(found)
