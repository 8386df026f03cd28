"""`python -m lab.demo [--keep]`, which is `sudo ./dev demo`: a cluster, a Deployment, a Service, answers.

Runs the steps of `lab.demo.steps`, shows each with its time, and compares the machine before and after.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from cli.failures import exit_on_failure
from lab.cluster import Cluster, ClusterSettings, bring_up
from lab.demo import steps
from lab.demo.screen import StepList
from lab.demo.steps import Spread
from lab.errors import LabError
from lab.images import prepare_images
from lab.kubectl import Kubectl, find_kubectl
from lab.machine_state import MachineState, changes_of_lab, diff_states, read_machine_state

LAB = "demo"


@click.command(epilog="Example: sudo ./dev demo --keep")
@click.option(
    "--keep", is_flag=True, help="Leave the cluster up, and say how to use it and how to take it down."
)
def demo(keep: bool) -> None:
    """Bring up a one-node cluster, run three web pods behind a Service, and show the Service answering."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(
        "[bold]Berth[/bold]: a control plane and one real node, in network namespaces of their own\n"
    )
    before = read_machine_state()
    with StepList(console) as progress:
        cluster = _bring_up(progress, keep)
        try:
            kubectl, spreads, listing = _run_steps(progress, cluster)
        except LabError as error:
            kept = cluster.keep_logs()
            cluster.down()
            raise LabError(f"{error}; the logs of its programs are in {kept}") from error
        except BaseException:
            cluster.down()
            raise
        if not keep:
            with progress.step("take everything down"):
                cluster.down()
    _print_outcome(console, listing, spreads)
    console.print(f"\ndone in [bold]{progress.total_seconds:.1f} s[/bold]")
    if keep:
        _print_usage(console, kubectl)
    else:
        _print_leftovers(console, before, read_machine_state())


def _bring_up(progress: StepList, keep: bool) -> Cluster:
    with progress.step("images from this machine's busybox and catatonit"):
        prepare_images()
    with progress.step("API server, containerd and agent up, node Ready"):
        return bring_up(ClusterSettings(name=LAB, bound_to_this_process=not keep))


def _run_steps(progress: StepList, cluster: Cluster) -> tuple[Kubectl, tuple[Spread, ...], str]:
    kubectl = find_kubectl(cluster.kubeconfig, cluster.names.data_directory / "kubectl-cache")
    with progress.step("kubectl apply: a Deployment of three, a Service"):
        steps.apply_manifest(kubectl)
    with progress.step("pods Ready"):
        steps.wait_for_pods(kubectl)
    listing = kubectl.run("get", "deploy,svc,pods", "-o", "wide")
    cluster_ip = steps.read_cluster_ip(kubectl)
    node_ip = str(cluster.nodes[0].ip)
    spreads = (
        _ask(
            progress, "node → cluster IP", lambda way: steps.ask_from_node(cluster, f"{cluster_ip}:80", way)
        ),
        _ask(progress, "pod → DNS name", lambda way: steps.ask_from_pod(kubectl, "web", way)),
        _ask(
            progress,
            "node port",
            lambda way: steps.ask_from_node(cluster, f"{node_ip}:{steps.NODE_PORT}", way),
        ),
    )
    with progress.step("one pod deleted, its replacement serves") as note:
        old, new = steps.replace_pod(kubectl)
        note(f"{old} → {new}")
        after = steps.ask_from_node(cluster, f"{cluster_ip}:80", "after the replacement")
        steps.check_spread(after)
    return kubectl, (*spreads, after), listing


def _ask(progress: StepList, way: str, ask: Callable[[str], Spread]) -> Spread:
    with progress.step(f"{steps.REQUESTS} requests, {way}") as note:
        started = perf_counter()
        spread = ask(way)
        steps.check_spread(spread)
        note(" + ".join(str(count) for _, count in sorted(spread.answers.items())))
        return replace(spread, seconds=perf_counter() - started)


def _print_outcome(console: Console, listing: str, spreads: tuple[Spread, ...]) -> None:
    console.print()
    console.print(listing.rstrip(), markup=False, highlight=False, soft_wrap=True)
    console.print()
    pods = sorted({pod for spread in spreads for pod in spread.answers})
    table = Table(title="Who answered", title_justify="left")
    table.add_column("requests by way of")
    for pod in pods:
        table.add_column(pod.rsplit("-", 1)[-1], justify="right")
    table.add_column("failed", justify="right")
    for spread in spreads:
        counts = [str(spread.answers.get(pod) or "") for pod in pods]
        table.add_row(spread.way, *counts, str(spread.failures))
    console.print(table)


def _print_usage(console: Console, kubectl: Kubectl) -> None:
    console.print(
        f"""
The cluster stays up. Use it:
  export KUBECONFIG={kubectl.kubeconfig}
  {kubectl.binary} get pods -A -o wide
  {kubectl.binary} exec -it client -- bash
Take it down:
  sudo .venv/bin/berth lab down --name {LAB}""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _print_leftovers(console: Console, before: MachineState, after: MachineState) -> None:
    """Says that nothing is left, or what is; ends the process with 1 then."""
    left = changes_of_lab(diff_states(before, after), LAB)
    if not left:
        console.print(
            "nothing is left: links, addresses, routes, rules, settings, namespaces, mounts, processes, "
            "cgroups and files are as before",
        )
        return
    console.print("[red]left behind:[/red]")
    for change in left:
        console.print(f"  {change}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    with exit_on_failure():
        demo(prog_name="./dev demo")
