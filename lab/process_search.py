"""Reading /proc: what a process is, and which processes belong to a lab.

A shell that only reads. Called by `lab.processes`, `lab.teardown` and `lab.machine_state`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

LAB_VARIABLE = "BERTH_LAB"
_DEPTH = 64


def read_start_ticks(pid: int) -> int | None:
    """When the process started; None when there is none, or only a zombie."""
    stat = read_stat(pid)
    return None if stat is None or stat[0] in "ZX" else int(stat[19])


def read_stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on (proc(5): field 3)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before may hold spaces and brackets


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


def read_command_line(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in text.split(b"\0"))


def read_program_name(pid: int) -> str:
    return Path(next(iter(read_command_line(pid)), "")).name


def _is_containerd_of(pid: int, paths: Sequence[str]) -> bool:
    if not read_program_name(pid).startswith("containerd"):
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
    while (stat := read_stat(pid)) is not None and (pid := int(stat[1])) > 0:
        found.add(pid)
    return frozenset(found)


def _descendants(roots: Iterable[int], pids: Iterable[int]) -> set[int]:
    parents = {pid: int(stat[1]) for pid in pids if (stat := read_stat(pid)) is not None}
    found = set(roots)
    for _ in range(_DEPTH):
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            break
        found |= more
    return found
