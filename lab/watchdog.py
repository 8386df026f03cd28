"""Removes a lab when the process it was made for dies without doing so itself (SIGKILL, a crash).

A shell, and a program of its own: `python -m lab.watchdog LAB PID START_TICKS`, started by `start_watchdog`
in a session of its own. It sleeps on a pidfd. Should it be killed too, the next `remove_orphans` finds the
lab.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.names import LabNames, parse_lab_name
from lab.process_search import LAB_VARIABLE
from lab.processes import Process, is_running
from lab.state import read_state
from lab.teardown import remove_lab


def start_watchdog(names: LabNames, owner: Process) -> None:
    """Returns at once; the watchdog ends by itself once the lab is gone or its owner is."""
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    argv = [sys.executable, "-m", "lab.watchdog", names.name, str(owner.pid), str(owner.start_ticks)]
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = {**os.environ, "PYTHONPATH": checkout, LAB_VARIABLE: names.name}  # `remove_lab` ends it
    os.posix_spawn(sys.executable, argv, environment, file_actions=actions, setsid=True)


def main(arguments: Sequence[str]) -> None:
    names = parse_lab_name(arguments[0])
    owner = Process(int(arguments[1]), int(arguments[2]))
    wait_for_exit(owner)
    with contextlib.suppress(LabError):  # nobody reads it; the next lab command tries again
        if read_state(names).owner == owner:
            remove_lab(names)


def wait_for_exit(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if is_running(process):  # else the pid is somebody else's by now
                select.select([descriptor], [], [])
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
