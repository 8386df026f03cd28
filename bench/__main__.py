"""`python -m bench [NAME…]`: runs benchmarks, prints a table each, and writes JSON under bench/results/.

Ends with 1 when a ratio missed its aim.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

import click

from bench.report import Report, render_report, write_report
from cli.failures import exit_on_failure

BENCHMARKS: Final = {
    "podstart": ("bench.podstart", "pod start, from create to Ready, beside the bare CRI floor"),
    "rules": ("bench.rules", "one endpoint changed in nftables, at 100 to 10,000 Services"),
}
RESULTS: Final = Path(__file__).parent / "results"


@click.command(epilog="Example: sudo ./dev bench podstart")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--count", type=click.IntRange(1), default=20, show_default=True, help="Samples of each timing."
)
def bench(names: tuple[str, ...], count: int) -> None:
    """Run the benchmarks NAMES, or all of them."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise click.UsageError(f"no benchmark {', '.join(unknown)}; choose from: {', '.join(BENCHMARKS)}")
    reports: list[Report] = []
    for name in names or tuple(BENCHMARKS):
        module, about = BENCHMARKS[name]
        click.echo(f"{name}: {about}", err=True)
        report: Report = importlib.import_module(module).run(count)
        click.echo(render_report(report))
        click.echo(f"written to {write_report(report, RESULTS)}", err=True)
        reports.append(report)
    sys.exit(0 if all(report.met for report in reports) else 1)


if __name__ == "__main__":
    with exit_on_failure():
        bench(prog_name="./dev bench")
