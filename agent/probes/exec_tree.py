"""Which processes of a container belong to a command that the runtime ran in it beside the container's own.

Pure: what /proc shows arrives as values. Called by `exec_guard`. Such a command's first process leads a session
(the OCI runtimes call setsid) and its parent is outside the container: the shim or conmon. Follows proc(5) and
credentials(7).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

Processes = Mapping[int, "Process"]


@dataclass(frozen=True, slots=True)
class Process:
    """`started` in clock ticks since the machine's boot; with `pid` it names a process for good."""

    pid: int
    parent: int
    session: int
    started: int
    ended: bool = False


def parse_process(stat: str) -> Process:
    """What the text of /proc/<pid>/stat says; raises ValueError for anything else."""
    # The program's name is in parentheses and may hold any character, parentheses too.
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if len(fields) < 20:
        raise ValueError("not the text of a stat file")
    return Process(
        pid=int(head.partition(" ")[0]),
        parent=int(fields[1]),
        session=int(fields[3]),
        started=int(fields[19]),
        ended=fields[0] in "ZX",
    )


def find_commands(processes: Processes, since: int) -> frozenset[Process]:
    """The first processes of commands that the runtime began in the container at or after `since`."""
    return frozenset(
        process
        for process in processes.values()
        if process.session == process.pid and process.parent not in processes and process.started >= since
    )


def is_alive(process: Process, processes: Processes) -> bool:
    """Whether it is among `processes` and not a zombie."""
    found = processes.get(process.pid)
    return found is not None and found.started == process.started and not found.ended


def choose_doomed(
    commands: Collection[Process], seen: Collection[Process], present: Processes, due: int
) -> tuple[Process, ...]:
    """What is left of commands that the runtime has just ended because their time was over.

    `commands`: those that ran shortly before; `seen`: everything that ran then. `due`: how many calls of ours
    are over time now. Nothing where more commands than that have ended: one of them is somebody else's.
    """
    ended = [command for command in commands if not is_alive(command, present)]
    if len(ended) > due:
        return ()
    tree = _grow({command.pid: command for command in ended}, (*seen, *present.values()))
    return tuple(process for process in present.values() if process in tree and not process.ended)


def _grow(leaders: Processes, processes: Iterable[Process]) -> frozenset[Process]:
    """The leaders, their sessions, and all descendants of these: a child may have left the session.

    A process whose parent ended is another value than before, with another parent: both are in the tree.
    """
    tree = dict(leaders)
    oldest = min((leader.started for leader in leaders.values()), default=0)
    left = {process for process in processes if process.started >= oldest}
    while grown := {p for p in left if p.pid in tree or p.session in leaders or p.parent in tree}:
        tree |= {process.pid: process for process in grown}
        left -= grown
    pids = {(process.pid, process.started) for process in tree.values()}
    return frozenset(p for p in processes if (p.pid, p.started) in pids)
