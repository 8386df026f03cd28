"""Programs that the lab starts in a namespace, known again and killed by whoever comes later."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.control_plane import open_host_socket
from lab.errors import LabError
from lab.namespaces import call_in_netns, create_netns, remove_netns, run_in_netns
from lab.processes import (
    Process,
    Program,
    current_process,
    is_running,
    kill_process,
    read_process,
    start_program,
)
from lab.readiness import listen_for_ready

# Answers each connection on the socket it was given with its own view of the world.
ACTIVATED = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    links = ",".join(sorted(os.listdir("/proc/self/net/dev_snmp6")))
    connection.sendall(f"{os.environ['LISTEN_FDS']} {links}".encode())
    connection.close()
"""


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "netns"
    create_netns(path)
    yield path
    remove_netns(path)


def build_program(directory: Path, netns: Path, script: str, listen_fd: int | None = None) -> Program:
    return Program(
        argv=(sys.executable, "-c", script),
        netns=netns,
        environment=os.environ,
        log_file=directory / "program.log",
        process_file=directory / "program.pid.json",
        listen_fd=listen_fd,
    )


def test_a_program_in_a_namespace_answers_on_the_host_s_loopback(tmp_path: Path, netns: Path) -> None:
    with open_host_socket(0) as listener:
        port = listener.getsockname()[1]
        process = start_program(build_program(tmp_path, netns, ACTIVATED, listener.fileno()))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            answer = connection.makefile().read()
    finally:
        kill_process(process)

    assert answer == "1 lo"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_program_is_known_by_its_file_until_it_is_killed(tmp_path: Path, netns: Path) -> None:
    program = build_program(tmp_path, netns, "import signal; signal.pause()")
    process = start_program(program)

    assert read_process(program.process_file) == process
    kill_process(process)
    assert read_process(program.process_file) is None
    kill_process(process)


def test_a_reused_pid_is_never_taken_for_the_program() -> None:
    ourselves = current_process()
    earlier = Process(ourselves.pid, ourselves.start_ticks - 1)

    assert is_running(ourselves)
    assert not is_running(earlier)
    kill_process(earlier)  # would be the end of this test run


def test_a_program_that_dies_while_starting_is_an_error_with_its_last_words(
    tmp_path: Path, netns: Path
) -> None:
    program = build_program(tmp_path, netns, "raise SystemExit('no such socket')")
    with listen_for_ready(tmp_path / "notify.sock") as notice:
        process = start_program(program)
        with pytest.raises(LabError, match="ended while starting: no such socket"):
            notice.wait(process, program.log_file, 20)


def test_work_in_a_namespace_leaves_the_caller_where_it_was(netns: Path) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    inside = call_in_netns(netns, lambda: os.stat("/proc/thread-self/ns/net").st_ino)

    assert inside == netns.stat().st_ino != before
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_a_command_in_a_namespace_still_sees_the_cgroup_mounts(netns: Path) -> None:
    mounts = run_in_netns(netns, ["cat", "/proc/self/mountinfo"]).stdout

    assert " - cgroup" in mounts


def test_a_command_that_hangs_is_an_error(netns: Path) -> None:
    with pytest.raises(LabError, match=r"didn't end within 0\.2 s"):
        run_in_netns(netns, ["sleep", "60"], timeout_seconds=0.2)


def test_a_taken_port_is_a_sentence() -> None:
    with open_host_socket(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=f"port {port} on 127.0.0.1"):
            open_host_socket(port)
