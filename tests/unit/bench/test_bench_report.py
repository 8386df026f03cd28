"""Percentiles, ratios and rendering of benchmark reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import Figure, Ratio, Report, Samples, compute_percentile, render_report, write_report


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (90, 9), (99, 10), (100, 10)])
def test_percentiles_are_nearest_rank(percent: float, expected: float) -> None:
    assert compute_percentile([3, 1, 2, 5, 4, 9, 10, 7, 8, 6], percent) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        compute_percentile([], 50)


def test_a_report_is_met_when_every_ratio_is() -> None:
    good, bad = Ratio("a", 1.2, 1.3), Ratio("b", 1.4, 1.3)
    assert Report("x", ratios=(good,)).met
    assert not Report("x", ratios=(good, bad)).met


def test_a_table_names_samples_figures_and_missed_aims() -> None:
    report = Report(
        "podstart",
        samples=(Samples("floor", (0.1, 0.2)),),
        ratios=(Ratio("p50 over floor", 1.4, 1.3),),
        figures=(Figure("resident memory", 80.5, "MB"),),
    )
    text = render_report(report)
    assert "floor" in text
    assert "100.0" in text
    assert "80.500  MB" in text
    assert "MISSED" in text


def test_json_holds_what_was_measured(tmp_path: Path) -> None:
    path = write_report(Report("x", samples=(Samples("a", (0.5,)),)), tmp_path / "results")
    assert json.loads(path.read_text())["samples"] == [{"name": "a", "seconds": [0.5]}]
