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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab import launch
from lab.errors import LabError

LAB_VARIABLE = "BERTH_LAB"
_FIRST_LISTEN_FD = 3  # sd_listen_fds(3)
_SHIM_DEPTH = 64
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


def read_start_ticks(pid: int) -> int | None:
    """When the process started; None when there is none, or only a zombie."""
    stat = _read_stat(pid)
    return None if stat is None or stat[0] in "ZX" else int(stat[19])


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
    shims = frozenset(pid for pid in everything if _program_name(pid).startswith("containerd-shim"))
    kill_pids(everything - shims)
    kill_pids(shims)


def find_lab_processes(
    cgroup_pids: frozenset[int], lab: str, paths: Sequence[str], netns_inodes: frozenset[int]
) -> frozenset[int]:
    """Every process of a lab: in its cgroups or namespaces, started by it, its shims and what they started.

    `paths` are beginnings of paths that only this lab's containerd and shims have on their command line.
    """
    pids = frozenset(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    spared = _own_ancestors()
    ours = {
        pid
        for pid in pids - spared
        if pid in cgroup_pids
        or _read_netns_inode(pid) in netns_inodes
        or _has_variable(pid, f"{LAB_VARIABLE}={lab}")
        or _is_containerd_of(pid, paths)
    }
    return frozenset((ours | _descendants(ours, pids)) - spared)


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


def _read_stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on (proc(5): field 3)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before may hold spaces and brackets


def read_command_line(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in text.split(b"\0"))


def _program_name(pid: int) -> str:
    return Path(next(iter(read_command_line(pid)), "")).name


def _is_containerd_of(pid: int, paths: Sequence[str]) -> bool:
    if not _program_name(pid).startswith("containerd"):
        return False
    return any(argument.startswith(path) for argument in read_command_line(pid) for path in paths)


def _has_variable(pid: int, assignment: str) -> bool:
    try:
        return assignment.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _read_netns_inode(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _own_ancestors() -> frozenset[int]:
    found = {os.getpid()}
    pid = os.getpid()
    while (stat := _read_stat(pid)) is not None and (pid := int(stat[1])) > 0:
        found.add(pid)
    return frozenset(found)


def _descendants(roots: Iterable[int], pids: Iterable[int]) -> set[int]:
    parents = {pid: int(stat[1]) for pid in pids if (stat := _read_stat(pid)) is not None}
    found = set(roots)
    for _ in range(_SHIM_DEPTH):
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            break
        found |= more
    return found
