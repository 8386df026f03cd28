"""Removing a lab from the machine: its processes, mounts, cgroups, namespaces, files.

A shell. Works from the lab's name alone, after any crash, and as often as one likes: everything is looked for
on the machine, and what is gone already is fine. Called by `lab.cluster`, `lab.runtime_node`, `lab.watchdog`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from lab import cgroups
from lab.errors import LabError
from lab.names import NETNS, LabNames
from lab.namespaces import unmount
from lab.process_search import find_lab_processes
from lab.processes import kill_containers_then_shims
from lab.state import lab_lock, list_orphans, read_state

# containerd keeps its shims' sockets here whatever its configuration says, CNI its results.
SHIM_SOCKETS = Path("/run/containerd/s")
CNI_RESULTS = Path("/var/lib/cni/results")

_ROUNDS = 20
_SOCKET_SETTLING_SECONDS = 0.5  # between a shim's bind and its listen


def remove_lab(names: LabNames) -> None:
    """Afterwards nothing of the lab is on the machine."""
    with lab_lock(names):
        _kill_everything(names)
        sockets = (*_shim_sockets(names), *_dead_shim_sockets(_read_creation(names)))
        _unmount_everything(names)
        cgroups.remove_cgroup(names.cgroup)
        _remove_files((*sockets, *_cni_results(names)))
        for directory in (names.data_directory, names.run_directory):
            _remove_directory(directory)


def remove_orphans() -> tuple[str, ...]:
    """Removes all labs whose owner has died; returns their names."""
    orphans = list_orphans()
    for name in orphans:
        remove_lab(LabNames(name))
    return orphans


def parse_mounts_below(mountinfo: str, directories: Iterable[Path]) -> tuple[Path, ...]:
    """Mount points at or below the directories, the newest first, from the text of /proc/self/mountinfo."""
    points = [Path(_unescape(line.split(" ")[4])) for line in mountinfo.splitlines()]
    return tuple(
        point
        for point in reversed(points)
        if any(point.is_relative_to(directory) for directory in directories)
    )


def _unescape(text: str) -> str:
    """mountinfo writes blanks and backslashes as three octal digits."""
    return text.encode("latin-1", "surrogateescape").decode("unicode_escape") if "\\" in text else text


def _kill_everything(names: LabNames) -> None:
    paths = tuple(f"{directory}/" for directory in (names.run_directory, names.data_directory))
    for _ in range(_ROUNDS):
        cgroups.thaw(names.cgroup)
        inodes = frozenset(_netns_inodes(names))
        pids = find_lab_processes(cgroups.read_pids(names.cgroup), names.name, paths, inodes)
        if not pids:
            return
        kill_containers_then_shims(pids)  # what they started meanwhile is found in the next round
    raise LabError(
        f"processes of the lab {names.name!r} keep coming back: {sorted(pids)}; is somebody starting them?"
    )


def _netns_inodes(names: LabNames) -> Iterable[int]:
    """Our nodes' namespaces and their pods', which containerd mounts below its state directory."""
    own = os.stat("/proc/self/ns/net")
    nodes = names.run_directory.glob(f"{NETNS}/*")
    pods = names.run_directory.glob("*/containerd/*/netns/*")
    for path in (*nodes, *pods):
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_dev == own.st_dev and found.st_ino != own.st_ino:  # else: not pinned any more
                yield found.st_ino


def _unmount_everything(names: LabNames) -> None:
    directories = (names.data_directory, names.run_directory)
    for _ in range(_ROUNDS):  # a mount point may hold several, one on the other
        mounts = parse_mounts_below(Path("/proc/self/mountinfo").read_text(), directories)
        detached = [unmount(point) for point in mounts]
        if not any(detached):
            break
    if mounts:
        raise LabError(f"{mounts[0]} stays mounted; unmount it and run `berth lab down` again")


def _shim_sockets(names: LabNames) -> tuple[Path, ...]:
    """From the bundles, which outlive their shims."""
    states = names.run_directory.glob("*/containerd")
    found = {path for state in states for path in find_shim_sockets(state)}
    return tuple(path for path in found if path.parent == SHIM_SOCKETS)


def find_shim_sockets(state_directory: Path) -> frozenset[Path]:
    """Of the shims that this containerd knows: 1.x writes down the address alone, 2.x among other things."""
    found = set()
    for bundle in state_directory.glob("io.containerd.runtime.v2.task/*/*"):
        with contextlib.suppress(OSError):
            found.add((bundle / "address").read_text().strip())
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            found.add(msgspec.json.decode((bundle / "bootstrap.json").read_bytes(), type=_Bootstrap).address)
    return frozenset(Path(address.removeprefix("unix://")) for address in found if address)


class _Bootstrap(msgspec.Struct):
    address: str = ""


def _dead_shim_sockets(since: float) -> Iterator[Path]:
    """Sockets of killed shims whose bundles containerd has cleared away since; 1.x leaves the sockets.

    Their names are hashes, so nothing ties them to us but their age. One that nobody answers is of no use to
    any other runtime either.
    """
    for path in SHIM_SOCKETS.glob("*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            is_old = since < found.st_mtime < time.time() - _SOCKET_SETTLING_SECONDS
            if since and is_old and stat.S_ISSOCK(found.st_mode) and not _answers(path):
                yield path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is an answer too, and must not hold us up
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _read_creation(names: LabNames) -> float:
    try:
        return read_state(names).created_at
    except LabError:
        return 0.0


def _cni_results(names: LabNames) -> tuple[Path, ...]:
    """Results of pods that CNI never took down; each names its pod's namespace, below our directory."""
    mark = f"{names.run_directory}/".encode()
    found = []
    for path in CNI_RESULTS.glob("*"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(path)
    return tuple(found)


def _remove_files(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for directory in (SHIM_SOCKETS, SHIM_SOCKETS.parent, CNI_RESULTS, CNI_RESULTS.parent):
        with contextlib.suppress(OSError):
            directory.rmdir()  # only when empty, so never anybody else's


def _remove_directory(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LabError(
            f"{error.filename} can't be removed: {error.strerror}; run `berth lab down` again"
        ) from error
