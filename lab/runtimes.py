"""Which programs a lab's container runtime is made of: this machine's, or others in a directory.

A shell that only looks for files. A runtime is named by the directory of its programs, or by its name under
`runtimes` in the cache, where `./dev runtimes` unpacks some. Called by `lab.runtime_node` and `lab.cluster`;
BERTH_LAB_RUNTIME says which runtime every lab gets that isn't told otherwise, so that tests, benches and the
demo run on any of them unchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.images import default_cache
from lab.processes import find_program

RUNTIME_VARIABLE = "BERTH_LAB_RUNTIME"
MACHINE_RUNTIME = ""

_NEEDED = ("containerd", "containerd-shim-runc-v2", "ctr")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePrograms:
    """Which programs a node's runtime is made of; None: the machine's.

    `containerd` is a directory with containerd, containerd-shim-runc-v2 and ctr; `cni_plugins` one with the
    CNI plugins; `runc` a program.
    """

    containerd: Path | None = None
    cni_plugins: Path | None = None
    runc: Path | None = None


MACHINE_PROGRAMS = RuntimePrograms()


def default_runtime() -> str:
    """What BERTH_LAB_RUNTIME says; the machine's when it says nothing."""
    return os.environ.get(RUNTIME_VARIABLE, MACHINE_RUNTIME)


def find_runtime(runtime: str) -> RuntimePrograms:
    """The programs of a runtime, by name or directory; runc is the one beside them, else the machine's."""
    if runtime == MACHINE_RUNTIME:
        return MACHINE_PROGRAMS
    directory = Path(runtime).absolute() if "/" in runtime else _unpacked() / runtime / "bin"
    for program in _NEEDED:
        if not os.access(directory / program, os.X_OK):
            raise LabError(
                f"the runtime {runtime!r} can't be used: there is no program {directory / program}; name "
                f"a directory of programs, or one of {_list_unpacked()} (`sudo ./dev runtimes` unpacks some)"
            )
    return RuntimePrograms(containerd=directory, runc=_find_runc(directory))


def _find_runc(directory: Path) -> Path | None:
    """The one beside the rest, else this machine's; by its path, which no PATH changes."""
    beside = directory / "runc"
    if os.access(beside, os.X_OK):
        return beside
    found = find_program("runc")
    return Path(found) if found is not None else None


def _unpacked() -> Path:
    return default_cache() / "runtimes"


def _list_unpacked() -> str:
    names = sorted(path.parent.parent.name for path in _unpacked().glob("*/bin/containerd"))
    return ", ".join(names) or "none that is unpacked"
