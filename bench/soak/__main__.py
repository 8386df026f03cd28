"""`python -m bench.soak [NAME…]`, which is `sudo ./dev soak`: hurts nodes again and again, a table a run.

Ends with 1 when something was found that must not happen. Labs go with this process, however it ends.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from bench.soak.findings import Findings, SoakOptions, render_findings
from cli.failures import exit_on_failure
from lab.errors import LabError
from lab.machine_state import changes_of_lab, diff_states, read_machine_state

RUNS: Final = {
    "agent-restarts": ("bench.soak.agent_restarts", "soak-agent", "40 pods, the agent killed 50 times"),
    "hanging-mount": ("bench.soak.hanging_mount", "soak-mount", "a pod on a mount that hangs, among 50"),
    "hanging-runtime": (
        "bench.soak.hanging_runtime",
        "soak-shim",
        "a pod whose calls never return, among 50",
    ),
    "kill-cycles": (
        "bench.soak.kill_cycles",
        "soak-kill",
        "200 pods come and go, the agent killed at each action",
    ),
    "runtime-restarts": (
        "bench.soak.runtime_restarts",
        "soak-runtime",
        "30 pods, containerd killed 20 times",
    ),
}


@click.command(
    epilog="Runs: "
    + "; ".join(f"{name}: {about}" for name, (_, _, about) in RUNS.items())
    + ". Example: sudo ./dev soak agent-restarts"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--pods", type=click.IntRange(4), help="Pods in a run; by default as many as it is meant for.")
@click.option("--repeats", type=click.IntRange(1), help="Restarts, cycles or starts in a run; as above.")
def soak(names: tuple[str, ...], pods: int | None, repeats: int | None) -> None:
    """Do the runs NAMES, or all of them, each in a lab of its own that is gone afterwards.

    Each prints what it found; the exit code is 1 if that is anything that must not happen.
    """
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise click.UsageError(f"no run {', '.join(unknown)}; choose from: {', '.join(RUNS)}")
    options = SoakOptions(pods=pods, repeats=repeats)
    clean = [_run(name, options) for name in names or tuple(RUNS)]
    sys.exit(0 if all(clean) else 1)


def _run(name: str, options: SoakOptions) -> bool:
    module, lab, about = RUNS[name]
    click.echo(f"{name}: {about}", err=True)
    before = read_machine_state()
    try:
        findings: Findings = importlib.import_module(module).run(options)
    except LabError as error:
        click.echo(f"{name} couldn't go on: {error}\n")
        return False
    click.echo(render_findings(findings))
    changes = changes_of_lab(diff_states(before, read_machine_state()), lab)
    click.echo(f"  {'left behind on the machine':<58}{len(changes):>10}")
    for change in changes:
        click.echo(f"      {change}")
    click.echo("")
    return findings.clean and not changes


if __name__ == "__main__":
    with exit_on_failure():
        soak(prog_name="./dev soak")
