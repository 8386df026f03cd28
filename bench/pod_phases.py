"""Where a pod's start spends its time, from the agent's own journal.

Pure, but for `read_phases`, which reads the journal of a node on this machine. Called by `bench.podstart`.
A phase's time is how long its action took, or how long after the one before it came; phases overlap, as
volumes and images are looked after while the sandbox is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.journal.entry import Entry, PodName
from agent.journal.files import build_stem
from agent.journal.read import JournalUnreadable, read_story
from bench.pod_timing import PodTimes
from bench.report import Samples

CREATED_TO_SEEN: Final = "created → seen by the agent"
SEEN_TO_TURN: Final = "seen → its turn"
READY_TO_WATCHED: Final = "Ready known → written → watched"
_ACTIONS: Final = {
    "PrepareVolumes": "volumes",
    "RunPodSandbox": "sandbox",
    "EnsureImage": "image",
    "CreateContainer": "create",
    "StartContainer": "start",
}
BETWEEN: Final = "between the calls"
ORDER: Final = (CREATED_TO_SEEN, SEEN_TO_TURN, *_ACTIONS.values(), BETWEEN, READY_TO_WATCHED)


def read_phases(root_dir: Path, pod: PodTimes) -> Mapping[str, float]:
    """The phases of a pod's start; empty when the journal lacks them, as of pods that left long ago."""
    name = PodName(namespace=pod.namespace, name=pod.name, uid=pod.uid)
    try:
        entries = read_story(root_dir, name, build_stem(pod.uid)).entries
    except JournalUnreadable:
        return {}
    return compute_phases(entries, pod.created_at, pod.ready_at)


def compute_phases(entries: Iterable[Entry], created_at: float, ready_at: float) -> Mapping[str, float]:
    """Seconds by phase; times are seconds since the epoch."""
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.what, entry)
    if not {"seen", "Ready", "RunPodSandbox", "StartContainer"} <= first.keys():
        return {}
    phases = {name: first[what].seconds or 0.0 for what, name in _ACTIONS.items() if what in first}
    calls = sum(phases.get(name, 0.0) for name in ("sandbox", "create", "start"))
    phases[CREATED_TO_SEEN] = first["seen"].at - created_at
    phases[SEEN_TO_TURN] = first["RunPodSandbox"].began_at - first["seen"].at
    phases[BETWEEN] = first["Ready"].at - first["RunPodSandbox"].began_at - calls
    phases[READY_TO_WATCHED] = ready_at - first["Ready"].at
    return phases


def list_phase_samples(phases: Iterable[Mapping[str, float]], where: str) -> Iterator[Samples]:
    """One row for each phase, in the order in which a pod passes them."""
    found = tuple(phases)
    for name in ORDER:
        seconds = tuple(each[name] for each in found if name in each)
        if seconds:
            yield Samples(f"  {name}{where}", seconds)
