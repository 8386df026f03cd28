"""What a lab remembers on disk between commands, and the lock that keeps two of them apart.

A shell for one small JSON file. Facts about running programs are not here: they are read from the machine.
Written by `lab.cluster`, read by every command; `lab.teardown` works without it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.errors import LabError
from lab.names import PREFIX, LabNames, find_lab_mark
from lab.processes import Process, is_running

_DATA_PARENT = Path("/var/lib")
_RUN_PARENT = Path("/run")


class NodeState(msgspec.Struct, frozen=True):
    name: str
    index: int


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    nodes: tuple[NodeState, ...] = ()
    server_port: int = 0  # on the host's 127.0.0.1; 0: no control plane
    proxy_mode: str = "auto"
    runtime: str = ""  # the directory of its nodes' runtime programs; "": the machine's
    created_at: float = 0.0  # seconds since the epoch; 0: unknown
    owner: Process | None = None  # gone: the lab is an orphan; None: it stays until `down`


def read_state(names: LabNames) -> LabState:
    try:
        return msgspec.json.decode(names.state_file.read_bytes(), type=LabState)
    except FileNotFoundError:
        raise LabError(f"there is no lab {names.name!r} here; start it with `berth lab up`") from None
    except PermissionError as error:
        raise LabError("the lab's state can't be read; run this as root") from error
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(f"the lab's state is unreadable ({error}); remove it with `berth lab down`") from error


def write_state(names: LabNames, state: LabState) -> None:
    names.data_directory.mkdir(parents=True, exist_ok=True)
    partial = names.state_file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    partial.replace(names.state_file)


def list_labs() -> tuple[str, ...]:
    """The names of all labs of which anything is left in our directories, sorted."""
    found = {
        find_lab_mark(path.name)
        for parent in (_DATA_PARENT, _RUN_PARENT)
        for path in parent.glob(f"{PREFIX}*")
        if path.is_dir()
    }
    return tuple(sorted(found - {""}))


def list_orphans() -> tuple[str, ...]:
    """Labs whose owner is dead, sorted; a lab without an owner never is one."""
    orphans = []
    for name in list_labs():
        with contextlib.suppress(LabError):
            owner = read_state(LabNames(name)).owner
            if owner is not None and not is_running(owner):
                orphans.append(name)
    return tuple(orphans)


@contextlib.contextmanager
def lab_lock(names: LabNames, timeout_seconds: float = 60) -> Iterator[None]:
    """Held by one command at a time; the file is gone afterwards."""
    descriptor = _take_lock(names.lock_file, time.monotonic() + timeout_seconds)
    try:
        yield
    finally:
        names.lock_file.unlink(missing_ok=True)
        os.close(descriptor)


def _take_lock(path: Path, deadline: float) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise LabError("the lab needs root; run it with sudo") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise LabError(
                f"another command is still working on this lab ({path} is locked); try again later"
            )
        time.sleep(0.05)  # flock has no deadline of its own


def _is_same_file(descriptor: int, path: Path) -> bool:
    """False when the holder before us removed the file while we waited for it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
