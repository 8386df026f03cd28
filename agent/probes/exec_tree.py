"""Which processes of a container belong to a command that the runtime ran in it beside the container's own.

Pure: what /proc shows arrives as values. Called by `exec_watch`. Such a command's first process leads a
session (the OCI runtimes call setsid) and its parent is outside the container: the shim or conmon. Follows
proc(5) and credentials(7).
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


def find_leaderless(processes: Processes, since: int) -> Mapping[Process, tuple[Process, ...]]:
    """The sessions of this age whose first process has ended, each with its members; the first process is
    shown as it would have been.

    A command that left something behind looks like that, and so does a daemon of the container's own.
    """
    sessions: dict[int, list[Process]] = {}
    for process in processes.values():
        sessions.setdefault(process.session, []).append(process)
    return {
        Process(session, 0, session, min(p.started for p in members), ended=True): tuple(members)
        for session, members in sessions.items()
        if session not in processes and all(member.started >= since for member in members)
    }


def is_alive(process: Process, processes: Processes) -> bool:
    """Whether it is among `processes` and not a zombie."""
    found = processes.get(process.pid)
    return found is not None and found.started == process.started and not found.ended


def choose_doomed(
    commands: Collection[Process], seen: Collection[Process], present: Processes, due: int
) -> tuple[Process, ...]:
    """What is left of commands that the runtime has just ended because their time was over.

    `commands`: those that ran shortly before; `seen`: everything that ran then. `due`: how many calls of ours
    are over time now. Nothing where more commands than that have left something: one is somebody else's.
    """
    everything = (*seen, *present.values())
    ended = [command for command in commands if not is_alive(command, present)]
    trees = [tree for command in ended if (tree := _list_survivors(command, everything, present))]
    return tuple(process for tree in trees for process in tree) if len(trees) <= due else ()


def _list_survivors(
    leader: Process, everything: Iterable[Process], present: Processes
) -> tuple[Process, ...]:
    tree = _list_tree(leader, everything)
    return tuple(p for p in present.values() if (p.pid, p.started) in tree and not p.ended)


def _list_tree(leader: Process, everything: Iterable[Process]) -> frozenset[tuple[int, int]]:
    """The names of the leader's session and of all their descendants: a child may leave the session.

    One whose parent ended shows another parent than before: both of its pictures are in `everything`.
    """
    tree = {leader.pid: leader.started}
    left = {process for process in everything if process.started >= leader.started}
    while grown := {p for p in left if p.session == leader.pid or _is_child(p, tree)}:
        tree |= {process.pid: process.started for process in grown}
        left -= grown
    return frozenset(tree.items())


def _is_child(process: Process, tree: Mapping[int, int]) -> bool:
    return process.started >= tree.get(process.parent, process.started + 1)
