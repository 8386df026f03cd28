"""Becomes another program after putting itself where that program shall live.

A program of its own, run by `lab.processes` as `python -I -S launch.py SPEC`, and only of the standard
library. SPEC is JSON: `netns` (a path, or empty), `cgroups` (cgroup.procs files to write the own pid to),
`listen_fds` (how many sockets were inherited from descriptor 3 on), `directory`, `argv`. The environment
passes through. All of it happens in the process that then execs, so the pid that the parent knows stays, and
LISTEN_PID is right (systemd's sd_listen_fds protocol).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

CLONE_NEWNET = 0x40000000


def main(arguments: Sequence[str]) -> None:
    spec: Mapping[str, Any] = json.loads(arguments[0])
    for procs in spec["cgroups"]:
        write_pid(procs)
    if spec["netns"]:
        enter_netns(spec["netns"])
    os.chdir(spec["directory"])
    environment = dict(os.environ)
    if spec["listen_fds"]:
        environment |= {"LISTEN_FDS": str(spec["listen_fds"]), "LISTEN_PID": str(os.getpid())}
    argv = spec["argv"]
    os.execvpe(argv[0], argv, environment)


def write_pid(procs: str) -> None:
    with open(procs, "w") as file:
        file.write(str(os.getpid()))


def enter_netns(path: str) -> None:
    """Moves the calling thread; only a process that is about to exec, or a thread of its own, may do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
