"""Nodes in an administrator's hands: cordon, drain, taint, label. Each test puts the node right again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.kubectl import Kubectl
from tests.cluster.kubectl.console import Console

HOMEFUL = '--labels=drill=yes --overrides=\'{"spec": {"terminationGracePeriodSeconds": 1}}\''


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """The only node; schedulable and untainted again afterwards."""
    yield "n1"
    kubectl.run("uncordon", "n1")
    kubectl.try_run("taint", "nodes", "n1", "drill-")


def test_a_cordoned_node_gets_no_pods(console: Console, node: str) -> None:
    assert console.run(f"cordon {node}") == f"node/{node} cordoned\n"
    assert "Ready,SchedulingDisabled" in console.run(f"get node {node}")
    with console.start("get events --watch") as events:
        console.run(f"run late --image=berth.local/shell:1 {HOMEFUL} -- sleep 3600")
        events.read_until(r"FailedScheduling .*0/1 nodes are available: 1 node\(s\) were unschedulable")

    assert console.run(f"uncordon {node}") == f"node/{node} uncordoned\n"

    console.wait_for("wait pod/late --for=condition=Ready --timeout=30s")


def test_draining_asks_before_it_evicts_what_nobody_would_restart(console: Console, node: str) -> None:
    console.run(f"run single --image=berth.local/shell:1 {HOMEFUL} -- sleep 3600")
    console.wait_for("wait pod/single --for=condition=Ready --timeout=30s")
    chosen = f"drain {node} --pod-selector=drill=yes --timeout=30s"

    refused = console.refusal(chosen)
    assert f"{console.namespace}/single" in refused
    assert "use --force to override" in refused

    assert f"node/{node} " in console.run(f"{chosen} --force")
    assert console.run("get pods -o name") == ""


def test_a_taint_keeps_pods_off_and_drives_them_out(console: Console, node: str) -> None:
    console.run(f"run quiet --image=berth.local/shell:1 {HOMEFUL} -- sleep 3600")
    console.wait_for("wait pod/quiet --for=condition=Ready --timeout=30s")

    assert console.run(f"taint nodes {node} drill=on:NoSchedule") == f"node/{node} tainted\n"
    with console.start("get events --watch") as events:
        console.run(f"run late --image=berth.local/shell:1 {HOMEFUL} -- sleep 3600")
        events.read_until(r"FailedScheduling .*untolerated taint")
    assert "Running" in console.run("get pod quiet")

    assert console.run(f"taint nodes {node} drill-") == f"node/{node} untainted\n"
    console.wait_for("wait pod/late --for=condition=Ready --timeout=30s")


def test_a_label_on_a_node_attracts_pods_that_ask_for_it(console: Console, node: str) -> None:
    overrides = '{"spec": {"nodeSelector": {"drill": "here"}, "terminationGracePeriodSeconds": 1}}'
    console.run(f"run picky --image=berth.local/shell:1 --overrides='{overrides}' -- sleep 3600")

    console.run(f"label node {node} drill=here")
    try:
        console.wait_for("wait pod/picky --for=condition=Ready --timeout=30s")
        assert console.run("get nodes -l drill=here -o name") == f"node/{node}\n"
    finally:
        console.run(f"label node {node} drill-")


def test_nobody_measures_yet_and_top_says_so(console: Console) -> None:
    assert "Metrics API not available" in console.refusal("top nodes")
    assert "Metrics API not available" in console.refusal("top pods")
