"""`python -m bench [NAME…]`: runs benchmarks, prints a table each, and writes JSON under bench/results/.

Ends with 1 when a ratio missed its aim.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

import click

from bench.options import BenchOptions
from bench.report import Report, render_report, write_report
from cli.failures import exit_on_failure

BENCHMARKS: Final = {
    "config-edits": ("bench.config_edits", "a ConfigMap shared by 20 pods, until each edit is in each pod"),
    "podstart": (
        "bench.podstart",
        "starts and stops of pods, one by one and many at once, beside bare CRI calls",
    ),
    "rules": ("bench.rules", "one endpoint changed in nftables, at 100 to 10,000 Services"),
}
RESULTS: Final = Path(__file__).parent / "results"


@click.command(epilog="Example: sudo ./dev bench podstart")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--count", type=click.IntRange(1), default=20, show_default=True, help="Samples of each timing."
)
@click.option(
    "--burst",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Pods that podstart creates at once; 0: none.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often it does that."
)
@click.option(
    "--services",
    type=click.IntRange(0),
    default=1_000,
    show_default=True,
    help="Services on a second node of podstart; 0: no such node.",
)
def bench(names: tuple[str, ...], count: int, burst: int, rounds: int, services: int) -> None:
    """Run the benchmarks NAMES, or all of them."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise click.UsageError(f"no benchmark {', '.join(unknown)}; choose from: {', '.join(BENCHMARKS)}")
    options = BenchOptions(count=count, burst=burst, rounds=rounds, services=services)
    reports: list[Report] = []
    for name in names or tuple(BENCHMARKS):
        module, about = BENCHMARKS[name]
        click.echo(f"{name}: {about}", err=True)
        report: Report = importlib.import_module(module).run(options)
        click.echo(render_report(report))
        click.echo(f"written to {write_report(report, RESULTS)}", err=True)
        reports.append(report)
    sys.exit(0 if all(report.met for report in reports) else 1)


if __name__ == "__main__":
    with exit_on_failure():
        bench(prog_name="./dev bench")
