"""Before this tier begins, what killed runs of it have left goes: their namespaces, and the programs in them.

A namespace of these tests carries the process ID of the run that made it; it is a leftover once that process
is gone.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from lab.namespaces import remove_netns

_NETNS: Final = Path("/run/netns")
_NAME: Final = re.compile(r"(?:berth-test-\w+|berth-bench-\w+|nr[a-z])-(?P<pid>\d+)(?:-.*)?")


@pytest.fixture(scope="session", autouse=True)
def no_leftovers_of_killed_runs() -> None:
    for path in list_leftovers():
        for pid in list_processes_in(path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        remove_netns(path)


def list_leftovers() -> list[Path]:
    """The namespaces of runs whose process is gone."""
    found = [(path, _NAME.fullmatch(path.name)) for path in _NETNS.glob("*")]
    return [path for path, match in found if match and not Path("/proc", match["pid"]).exists()]


def list_processes_in(netns: Path) -> Iterator[int]:
    """The processes whose network namespace this is."""
    wanted = netns.stat().st_ino
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "ns" / "net").stat().st_ino == wanted:
                yield int(entry.name)
