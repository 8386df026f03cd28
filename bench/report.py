"""What a benchmark found: samples, their percentiles, ratios to a floor; as a table and as JSON.

Pure but for `write_report`. Every benchmark returns a `Report`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated timings of one thing, in seconds."""

    name: str
    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile; `percent` from 0 to 100. Raises ValueError without samples."""
        return compute_percentile(self.seconds, percent)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measured ratio and the most it may be."""

    name: str
    value: float
    aim: float

    @property
    def met(self) -> bool:
        return self.value <= self.aim


@dataclass(frozen=True, slots=True)
class Figure:
    """A single number that isn't a timing, with its unit."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    samples: tuple[Samples, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def met(self) -> bool:
        return all(ratio.met for ratio in self.ratios)


def compute_percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of some values."""
    if not values:
        raise ValueError("a percentile needs at least one sample")
    ordered = sorted(values)
    rank = max(1, math.ceil(percent / 100 * len(ordered)))
    return ordered[rank - 1]


def render_report(report: Report) -> str:
    """The report as aligned text for a terminal."""
    lines = [f"{report.name}", ""]
    if report.samples:
        lines.append(f"{'':<56}{'n':>5}{'min':>10}{'p50':>10}{'p90':>10}{'p99':>10}  ms")
        lines += [_render_samples(samples) for samples in report.samples]
    lines += [f"{figure.name:<56}{figure.value:>15.3f}  {figure.unit}" for figure in report.figures]
    lines += [
        f"{ratio.name:<56}{ratio.value:>15.2f}  (aim ≤ {ratio.aim}) {'met' if ratio.met else 'MISSED'}"
        for ratio in report.ratios
    ]
    return "\n".join(lines)


def _render_samples(samples: Samples) -> str:
    milliseconds = [samples.percentile(percent) * 1000 for percent in (0, 50, 90, 99)]
    return f"{samples.name:<56}{len(samples.seconds):>5}" + "".join(
        f"{value:>10.1f}" for value in milliseconds
    )


def write_report(report: Report, directory: Path) -> Path:
    """Writes the report as JSON into the directory and returns the file's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{report.name}.json"
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")
    return path
