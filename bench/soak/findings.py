"""What a soak run found: checks of which nothing may be found, figures to look at; and both as a table.

Pure. Every run returns `Findings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.report import Figure

_SHOWN_PROBLEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must not happen, and each time that it did, a line each."""

    name: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    name: str
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...] = ()
    logs: str = ""  # where the programs' logs are kept

    @property
    def clean(self) -> bool:
        return not any(check.problems for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """Sizes of the runs; None: each run's own full size."""

    pods: int | None = None
    repeats: int | None = None


def render_findings(findings: Findings) -> str:
    """The table for a terminal; of each check the first few problems."""
    lines = [findings.name, ""]
    for check in findings.checks:
        verdict = "ok" if not check.problems else "FOUND"
        lines.append(f"  {check.name:<58}{len(check.problems):>10}  {verdict}")
        lines += [f"      {problem}" for problem in check.problems[:_SHOWN_PROBLEMS]]
        if (more := len(check.problems) - _SHOWN_PROBLEMS) > 0:
            lines.append(f"      … and {more} more")
    lines += [f"  {figure.name:<58}{figure.value:>10.3f}  {figure.unit}" for figure in findings.figures]
    lines += [f"  logs: {findings.logs}"] if findings.logs else []
    return "\n".join(lines)
