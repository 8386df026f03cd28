"""A small run of the podstart benchmark: every timing is there, on a node with Services too."""

from __future__ import annotations

from bench.options import BenchOptions
from bench.pod_phases import ORDER
from bench.podstart import run


def test_every_timing_and_phase_is_measured() -> None:
    report = run(BenchOptions(count=2, burst=3, rounds=1, services=5))
    samples = {samples.name.strip(): samples.seconds for samples in report.samples}
    for where in ("", ", 5 Services"):
        assert len(samples[f"start: created → Ready watched{where}"]) == 2
        assert len(samples[f"burst: all Ready watched{where}"]) == 1
        assert all(len(samples[f"{phase}{where}"]) == 2 for phase in ORDER)
        assert all(len(samples[f"{phase}, burst{where}"]) == 3 for phase in ORDER)
    assert all(seconds > 0 for name, found in samples.items() if "floor" in name for seconds in found)
    assert len(report.ratios) == 6
