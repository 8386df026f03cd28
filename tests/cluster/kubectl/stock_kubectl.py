"""Which kubectls there are to test with: this machine's, and Debian 12's 1.20 beside a newer one.

Subprocess IO. The old one is $BERTH_KUBECTL_OLD, or is unpacked from Debian's package into the cache when it
is first used. Where the machine's own is as old, or nothing offers 1.20, there is one only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from enum import StrEnum
from functools import cache
from pathlib import Path

from lab.images import default_cache
from lab.kubectl import find_kubectl

_PACKAGE = "kubernetes-client"
_OLD_RELEASE = "1.20."
_SECONDS = 60


class Edition(StrEnum):
    """Which kubectl a test uses."""

    MACHINE = "machine"
    OLD = "v1.20"


@cache
def list_editions() -> tuple[Edition, ...]:
    """The ones to be had here; asks the machine, fetches nothing."""
    if _is_old(_machine_binary()) or not (_configured() or _cached().exists() or _is_offered()):
        return (Edition.MACHINE,)
    return (Edition.MACHINE, Edition.OLD)


@cache
def provide_binary(edition: Edition) -> str:
    """The program's path, fetched if need be."""
    match edition:
        case Edition.MACHINE:
            return _machine_binary()
        case Edition.OLD:
            if _configured():
                return _configured()
            if not _cached().exists():
                _unpack(_cached())
            return str(_cached())


@cache
def read_minor_version(binary: str) -> int:
    """20 for a kubectl 1.20."""
    printed = _run(binary, "version", "--client", "--output=json")
    version = json.loads(printed)["clientVersion"]["gitVersion"]
    found = re.match(r"v1\.(\d+)", version)
    assert found is not None, f"{binary} calls itself {version}"
    return int(found[1])


def _machine_binary() -> str:
    return find_kubectl(Path(), Path()).binary


def _is_old(binary: str) -> bool:
    return read_minor_version(binary) <= 20


def _configured() -> str:
    return os.environ.get("BERTH_KUBECTL_OLD", "")


def _cached() -> Path:
    return default_cache() / "tools" / "kubectl-1.20" / "kubectl"


def _is_offered() -> bool:
    if shutil.which("apt-cache") is None or shutil.which("dpkg-deb") is None:
        return False
    return f"Candidate: {_OLD_RELEASE}" in _run("apt-cache", "policy", _PACKAGE)


def _unpack(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename: an interrupted run leaves no half a program.
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        _run("apt-get", "--quiet", "download", _PACKAGE, directory=directory)
        (package,) = Path(directory).glob("*.deb")
        _run("dpkg-deb", "--extract", str(package), directory)
        (Path(directory) / "usr/bin/kubectl").rename(target)


def _run(*argv: str, directory: str | None = None) -> str:
    result = subprocess.run(
        argv, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=directory
    )
    assert result.returncode == 0, f"{' '.join(argv)} failed: {result.stderr}"
    return result.stdout
