"""From a pod's entries to the phases of its life, with how long each took.

Pure. Called by the command line. A phase is a row of tries of one action up to its success; of an action that
was repeated, as in a crash loop, the newest row counts. Spans lead from one state to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.journal.entry import Entry

_NAMES: Final = MappingProxyType(
    {
        "PrepareVolumes": "volumes",
        "RefreshVolumes": "refresh volumes",
        "RunPodSandbox": "sandbox",
        "EnsureImage": "image",
        "CreateContainer": "create",
        "StartContainer": "start",
        "RunPostStartHook": "postStart hook",
        "RunPreStopHook": "preStop hook",
        "StopContainer": "stop",
        "RemoveContainer": "remove",
        "StopPodSandbox": "stop sandbox",
        "RemovePodSandbox": "remove sandbox",
        "RemoveVolumes": "remove volumes",
        "RemovePodFiles": "remove files",
        "DeletePod": "delete API object",
    }
)
# From the end of the first state to the first such state after it.
_SPANS: Final = (
    ("scheduling", "created", "scheduled"),
    ("reaching the node", "scheduled", "seen"),
    ("to a sandbox with network", "seen", "PodReadyToStartContainers"),
    ("to initialized", "seen", "Initialized"),
    ("to Ready", "seen", "Ready"),
    ("from deletion to gone", "deletion asked", "gone from this node"),
)


@dataclass(frozen=True, slots=True)
class Phase:
    """`seconds` from the begin of the first try to the end of the last; `done`: the last one succeeded.

    `runs`: how often there was such a row of tries. `coarse`: known to the second only, from the API.
    """

    name: str
    target: str
    began_at: float
    seconds: float
    tries: int = 1
    done: bool = True
    runs: int = 1
    coarse: bool = False


def compute_phases(entries: Sequence[Entry]) -> tuple[Phase, ...]:
    """By when they began."""
    return tuple(sorted((*_list_spans(entries), *_list_actions(entries)), key=lambda phase: phase.began_at))


def _list_spans(entries: Sequence[Entry]) -> Iterator[Phase]:
    for name, first, last in _SPANS:
        begin = next((entry for entry in entries if entry.what == first), None)
        if begin is None:
            continue
        end = next((entry for entry in entries if entry.what == last and entry.at >= begin.at), None)
        if end is not None:
            coarse = begin.at == int(begin.at)
            yield Phase(name, "", begin.at, end.at - begin.at, coarse=coarse)
    yield from _list_readiness(entries)


def _list_readiness(entries: Sequence[Entry]) -> Iterator[Phase]:
    """For each container with a probe, from its last start to ready."""
    starts = {e.target: e.at for e in entries if e.what == "StartContainer" and not e.failed}
    for target, started_at in starts.items():
        ready = (e.at for e in entries if e.what == "ready" and e.target == target and e.at >= started_at)
        if (ready_at := next(ready, None)) is not None:
            yield Phase("start to ready", target, started_at, ready_at - started_at)


def _list_actions(entries: Sequence[Entry]) -> Iterator[Phase]:
    actions = [entry for entry in entries if entry.kind == "action"]
    for what, target in dict.fromkeys((entry.what, entry.target) for entry in actions):
        tries = [entry for entry in actions if (entry.what, entry.target) == (what, target)]
        rows = _split_rows(tries)
        newest = rows[-1]
        began_at = newest[0].began_at
        yield Phase(
            name=_NAMES.get(what, what),
            target=target,
            began_at=began_at,
            seconds=newest[-1].at - began_at,
            tries=len(newest),
            done=not newest[-1].failed,
            runs=len(rows),
        )


def _split_rows(tries: Sequence[Entry]) -> list[list[Entry]]:
    """Rows of failures that end with a success, or with the last try."""
    rows: list[list[Entry]] = [[]]
    for entry in tries:
        if rows[-1] and not rows[-1][-1].failed:
            rows.append([])
        rows[-1].append(entry)
    return rows
