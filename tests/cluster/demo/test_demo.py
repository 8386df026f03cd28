"""The demo as a newcomer runs it: it ends well, leaves nothing, survives an interruption, and can be kept."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import open_cluster, remove_cluster
from lab.machine_state import changes_of_lab, diff_states, read_machine_state

LAB = "demo"
DEMO = (sys.executable, "-m", "lab.demo")
CHECKOUT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 110


@pytest.fixture(autouse=True)
def no_demo_is_left() -> Iterator[None]:
    remove_cluster(LAB)
    yield
    remove_cluster(LAB)


def run_demo(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *flags], cwd=CHECKOUT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


def test_the_demo_answers_three_ways_and_leaves_nothing() -> None:
    before = read_machine_state()
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    for way in ("node → cluster IP", "pod → DNS name", "node port", "its replacement serves"):
        assert way in done.stdout
    assert "nothing is left" in done.stdout
    assert changes_of_lab(diff_states(before, read_machine_state()), LAB) == ()


def test_an_interrupted_demo_leaves_nothing() -> None:
    before = read_machine_state()
    with subprocess.Popen(
        DEMO, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "node Ready" in line:
                break
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=DEADLINE_SECONDS)
    assert demo.returncode == 1
    assert errors.strip() == "Aborted!"
    assert changes_of_lab(diff_states(before, read_machine_state()), LAB) == ()


def test_a_kept_demo_stays_and_says_how_to_use_it_and_how_to_take_it_down() -> None:
    done = run_demo("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    cluster = open_cluster(LAB)
    assert [node.ready for node in cluster.status().nodes] == [True]
    assert f"export KUBECONFIG={cluster.kubeconfig}" in done.stdout
    assert f"lab down --name {LAB}" in done.stdout


def test_an_unknown_flag_is_misuse() -> None:
    done = run_demo("--kep")
    assert done.returncode == 2
    assert "No such option" in done.stderr
