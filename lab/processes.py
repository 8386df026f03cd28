"""The lab's long-running programs: starting them where they belong, knowing them again, killing them.

A shell over posix_spawn, pidfds and /proc. A program is remembered on disk by pid and start time, so that any
later process (`berth lab kill`, a clean-up after a crash) means the same one and never a stranger with a
reused pid. Called by `lab.runtime_node`, `lab.cluster` and `lab.teardown`; the child's own half is
`lab.launch`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab import launch
from lab.errors import LabError
from lab.process_search import read_program_name, read_start_ticks

_FIRST_LISTEN_FD = 3  # sd_listen_fds(3)
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class Process(msgspec.Struct, frozen=True):
    """One process, told apart from a later one with its pid by the start time (clock ticks since boot)."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    argv: tuple[str, ...]
    netns: Path | None
    cgroup_procs: tuple[Path, ...] = ()
    environment: Mapping[str, str]
    log_file: Path
    process_file: Path
    listen_fd: int | None = None


def build_environment(**variables: str) -> dict[str, str]:
    """Our own environment plus `variables`; system programs are found after a plain `su`, too."""
    path = ":".join([os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), *_SYSTEM_PATH])
    return os.environ | {"PATH": path} | variables


def find_program(name: str) -> str | None:
    return shutil.which(name, path=build_environment()["PATH"])


def start_program(program: Program) -> Process:
    """Starts it in a session of its own, its output appended to the log; it outlives this process."""
    program.log_file.parent.mkdir(parents=True, exist_ok=True)
    program.process_file.parent.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": program.argv,
        "netns": str(program.netns or ""),
        "cgroups": [str(path) for path in program.cgroup_procs],
        "listen_fds": 0 if program.listen_fd is None else 1,
        "directory": "/",
    }
    output = os.open(program.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        pid = _spawn(json.dumps(spec), program.environment, output, program.listen_fd)
    finally:
        os.close(output)
    process = Process(pid, read_start_ticks(pid) or 0)
    program.process_file.write_bytes(msgspec.json.encode(process))
    return process


def read_process(path: Path) -> Process | None:
    """The program remembered in this file, if it still runs."""
    try:
        process = msgspec.json.decode(path.read_bytes(), type=Process)
    except (OSError, msgspec.DecodeError):  # never started, or its start was cut short
        return None
    return process if is_running(process) else None


def is_running(process: Process) -> bool:
    return read_start_ticks(process.pid) == process.start_ticks


def current_process() -> Process:
    return Process(os.getpid(), read_start_ticks(os.getpid()) or 0)


def kill_process(process: Process, timeout_seconds: float = 10) -> None:
    """SIGKILL, and waits until it is gone; gone already is success."""
    if is_running(process):
        kill_pids([process.pid], timeout_seconds)


def kill_pids(pids: Iterable[int], timeout_seconds: float = 10) -> None:
    """SIGKILL to all, and waits until all are gone (a zombie counts as gone)."""
    waiting = {descriptor: pid for pid in pids if (descriptor := _open_pidfd(pid)) is not None}
    poller = select.poll()
    try:
        for descriptor in waiting:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poller.register(descriptor, select.POLLIN)
        _await_exits(poller, waiting, timeout_seconds)
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def kill_containers_then_shims(pids: Iterable[int]) -> None:
    """As `kill_pids`, shims last: they reap their containers, which init may take seconds to do."""
    everything = frozenset(pids)
    shims = frozenset(pid for pid in everything if read_program_name(pid).startswith("containerd-shim"))
    kill_pids(everything - shims)
    kill_pids(shims)


def _spawn(spec: str, environment: Mapping[str, str], output: int, listen_fd: int | None) -> int:
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    if listen_fd is not None:
        actions.append((os.POSIX_SPAWN_DUP2, listen_fd, _FIRST_LISTEN_FD))
    argv = [sys.executable, "-I", "-S", launch.__file__, spec]
    # posix_spawn: callers have threads (gRPC, pytest), which a fork with Python code in the child doesn't
    # survive.
    return os.posix_spawn(sys.executable, argv, dict(environment), file_actions=actions, setsid=True)


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _await_exits(poller: select.poll, waiting: Mapping[int, int], timeout_seconds: float) -> None:
    left = dict(waiting)
    deadline = time.monotonic() + timeout_seconds
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise LabError(f"process {next(iter(left.values()))} doesn't die within {timeout_seconds:g} s")
        for descriptor, _ in poller.poll(remaining * 1000):
            poller.unregister(descriptor)
            reap(left.pop(descriptor))


def reap(pid: int) -> None:
    """Takes the exit status of a child of ours; somebody else's is init's to take."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
