"""Phases of a pod's start from its journal, and the ratios of the podstart benchmark."""

from __future__ import annotations

import pytest

from agent.journal.entry import Entry
from bench.cri_floor import FloorSample
from bench.options import BenchOptions
from bench.pod_phases import (
    BETWEEN,
    CREATED_TO_SEEN,
    READY_TO_WATCHED,
    SEEN_TO_TURN,
    compute_phases,
    list_phase_samples,
)
from bench.pod_timing import PodSample
from bench.podstart import Findings, build_report


def action(what: str, at: float, seconds: float) -> Entry:
    return Entry(at=at, what=what, kind="action", seconds=seconds)


STORY = (
    Entry(at=100.01, what="seen"),
    action("PrepareVolumes", 100.03, 0.01),
    action("EnsureImage", 100.04, 0.02),
    action("RunPodSandbox", 100.15, 0.13),
    action("CreateContainer", 100.18, 0.02),
    action("StartContainer", 100.25, 0.06),
    Entry(at=100.26, what="Ready"),
    Entry(at=130.0, what="Ready"),
)


def test_phases_add_up_to_the_whole_start() -> None:
    phases = compute_phases(STORY, created_at=100.0, ready_at=100.27)
    serial = (
        CREATED_TO_SEEN,
        SEEN_TO_TURN,
        "sandbox",
        "create",
        "start",
        BETWEEN,
        READY_TO_WATCHED,
    )
    assert sum(phases[name] for name in serial) == pytest.approx(0.27)
    assert phases["volumes"] == 0.01
    assert phases["image"] == 0.02
    assert phases[BETWEEN] == pytest.approx(0.03)


def test_a_pod_that_never_became_ready_has_no_phases() -> None:
    assert compute_phases(STORY[:5], 100.0, 100.3) == {}


def test_rows_are_in_the_order_of_a_start() -> None:
    rows = list(list_phase_samples([compute_phases(STORY, 100.0, 100.27), {}], ", burst"))
    assert [row.name.strip() for row in rows][:3] == [
        f"{CREATED_TO_SEEN}, burst",
        f"{SEEN_TO_TURN}, burst",
        "volumes, burst",
    ]
    assert all(len(row.seconds) == 1 for row in rows)


def find(start: float, stop: float, burst: float) -> Findings:
    return Findings(
        pods=[PodSample(start, stop)],
        bursts=[PodSample(burst, 1.0)],
        floors=[FloorSample(0.2, 0.25)],
        floor_bursts={2: [8.0], 4: [5.0], 50: [6.0]},
    )


def test_ratios_are_to_the_best_floor_and_to_the_node_without_services() -> None:
    options = BenchOptions(services=1000)
    report = build_report(find(0.22, 0.3, 5.5), find(0.242, 0.3, 6.6), options)
    assert [round(ratio.value, 3) for ratio in report.ratios] == [1.1, 0.05, 1.1, 1.1, 1.0, 1.2]
    assert [ratio.met for ratio in report.ratios] == [True, True, True, True, True, False]


def test_without_services_only_the_floor_counts() -> None:
    report = build_report(find(0.22, 0.3, 5.5), None, BenchOptions(services=0))
    assert len(report.ratios) == 3
