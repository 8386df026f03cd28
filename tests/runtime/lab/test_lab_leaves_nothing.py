"""A lab that has gone has left nothing, whoever ended it and however."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.bare_pods import open_bare_runtime, write_bridge_conf
from lab.cgroups import read_pids
from lab.errors import LabError
from lab.images import WEB_IMAGE
from lab.machine_state import Aspect, changes_of_lab, diff_states, read_machine_state
from lab.names import LabNames
from lab.processes import kill_pids, read_process
from lab.readiness import wait_for_cri
from lab.runtime_node import RuntimeNode, running_runtime_node
from lab.state import list_labs, read_state
from lab.teardown import SHIM_SOCKETS, find_shim_sockets, remove_lab, remove_orphans

# A child that brings up a lab with one pod, says so, and waits to be killed.
CHILD = """
import sys, time
from lab.bare_pods import open_bare_runtime, write_bridge_conf
from lab.images import WEB_IMAGE
from lab.readiness import wait_for_cri
from lab.runtime_node import running_runtime_node

with running_runtime_node(sys.argv[1]) as node:
    write_bridge_conf(node)
    with open_bare_runtime(node) as runtime:
        runtime.run_pod("web", WEB_IMAGE)
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lab_name() -> str:
    return f"gone-{os.getpid()}"


def list_shim_sockets(node: RuntimeNode) -> set[Path]:
    return set(find_shim_sockets(node.paths.containerd_state))


def run_one_pod(node: RuntimeNode) -> None:
    write_bridge_conf(node)
    with open_bare_runtime(node) as runtime:
        runtime.run_pod("web", WEB_IMAGE)


def start_child(lab: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, lab],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def kill_child(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def list_watchdogs(lab: str) -> tuple[int, ...]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"lab.watchdog" in argv and lab.encode() in argv:
            found.append(int(entry.name))
    return tuple(found)


def test_a_lab_with_a_running_pod_leaves_nothing(lab_name: str) -> None:
    before = read_machine_state()
    with running_runtime_node(lab_name) as node:
        run_one_pod(node)
        during = changes_of_lab(diff_states(before, read_machine_state()), lab_name)
        sockets = list_shim_sockets(node)
    after = changes_of_lab(diff_states(before, read_machine_state()), lab_name)

    seen = {change.aspect for change in during}
    assert {Aspect.NAMESPACES, Aspect.MOUNTS, Aspect.PROCESSES, Aspect.CGROUPS, Aspect.FILES} <= seen
    assert after == ()
    assert sockets
    assert not any(socket.exists() for socket in sockets)


def test_while_a_lab_runs_the_host_s_network_is_as_before(lab_name: str) -> None:
    before = read_machine_state()
    with running_runtime_node(lab_name) as node:
        run_one_pod(node)
        during = diff_states(before, read_machine_state())

    host_network = {Aspect.LINKS, Aspect.ADDRESSES, Aspect.ROUTES, Aspect.RULES, Aspect.SETTINGS}
    assert [change for change in during if change.aspect in host_network] == []


def test_the_watchdog_removes_the_lab_of_a_killed_process(lab_name: str) -> None:
    before = read_machine_state()
    child = start_child(lab_name)
    (watchdog,) = list_watchdogs(lab_name)
    ended = os.pidfd_open(watchdog)
    kill_child(child)
    readable, _, _ = select.select([ended], [], [], 30)
    os.close(ended)

    assert readable, "the watchdog still works"
    assert changes_of_lab(diff_states(before, read_machine_state()), lab_name) == ()


def test_the_next_run_removes_a_lab_whose_watchdog_died_too(lab_name: str) -> None:
    before = read_machine_state()
    child = start_child(lab_name)
    kill_pids(list_watchdogs(lab_name))
    kill_child(child)
    assert lab_name in list_labs()

    assert lab_name in remove_orphans()
    assert changes_of_lab(diff_states(before, read_machine_state()), lab_name) == ()


@pytest.mark.parametrize(
    "lost", ["state file", "run directory", "containerd", "shims", "everything in its cgroup"]
)
def test_removal_needs_none_of_what_may_be_lost(lab_name: str, lost: str) -> None:
    before = read_machine_state()
    child = start_child(lab_name)
    kill_pids(list_watchdogs(lab_name))
    kill_child(child)
    names = LabNames(lab_name)
    match lost:
        case "state file":
            names.state_file.unlink()
        case "run directory":
            names.process_file("n1", "containerd").unlink()
            names.node("n1").containerd_socket.unlink()
        case "containerd":
            process = read_process(names.process_file("n1", "containerd"))
            assert process is not None
            kill_pids([process.pid])
        case "shims":
            kill_pids(
                pid
                for pid in read_pids(names.cgroup)
                if b"containerd-shim" in Path(f"/proc/{pid}/cmdline").read_bytes()
            )
        case _:
            kill_pids(read_pids(names.cgroup))

    remove_lab(names)

    assert changes_of_lab(diff_states(before, read_machine_state()), lab_name) == ()


def test_a_shim_that_was_killed_long_ago_leaves_no_socket(lab_name: str) -> None:
    with running_runtime_node(lab_name) as node:
        run_one_pod(node)
        sockets = list_shim_sockets(node)
        node.kill_containers()
        time.sleep(0.6)  # the age at which an unanswered socket counts as dead
        node.start_containerd()
        wait_for_cri(node.endpoint, (WEB_IMAGE,), 30)
        assert list_shim_sockets(node) == set(), "containerd has not cleared the dead bundles away"
        # containerd 1.x leaves them; 2.x removes them itself.

    assert not any(socket.exists() for socket in sockets)


def test_removing_what_is_not_there_is_fine(lab_name: str) -> None:
    names = LabNames(lab_name)

    remove_lab(names)
    remove_lab(names)

    with pytest.raises(LabError, match="there is no lab"):
        read_state(names)
    assert not names.lock_file.exists()


def test_a_stranger_s_shim_sockets_are_left_alone(lab_name: str) -> None:
    SHIM_SOCKETS.mkdir(parents=True, exist_ok=True)
    stranger = SHIM_SOCKETS / f"stranger-{lab_name}"
    stranger.touch()
    try:
        with running_runtime_node(lab_name) as node:
            run_one_pod(node)
        assert stranger.exists()
    finally:
        stranger.unlink()
    remove_lab(LabNames(lab_name))
