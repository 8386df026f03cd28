"""Network namespaces by path: making, entering, removing.

A shell around setns, unshare and mount. A namespace is kept by a bind mount at its path. Entering is per
thread: work runs in a thread of its own that ends with it, so the caller never changes namespace. Called by
`lab.network`, tests and benches; a lab's own are removed by `lab.teardown` with its other mounts.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lab.errors import LabError
from lab.launch import CLONE_NEWNET, enter_netns
from lab.processes import build_environment

T = TypeVar("T")

_MS_BIND = 0x1000
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def create_netns(path: Path) -> None:
    """A new namespace, kept by a bind mount at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(exist_ok=False)

    def unshare_and_pin() -> None:
        _check(_libc.unshare(CLONE_NEWNET), "unshare", path)
        source = b"/proc/thread-self/ns/net"
        _check(_libc.mount(source, os.fsencode(path), None, _MS_BIND, None), "bind", path)

    _run_in_thread(unshare_and_pin)


def remove_netns(path: Path) -> None:
    """Unpins the namespace and removes its file; gone already is success."""
    unmount(path)
    path.unlink(missing_ok=True)


def unmount(path: Path) -> bool:
    """Detaches the topmost mount at `path`; False when there was none."""
    return int(_libc.umount2(os.fsencode(path), _MNT_DETACH)) == 0


def call_in_netns(path: Path, work: Callable[[], T]) -> T:
    """Runs `work` in a thread inside the namespace: what it opens (sockets, /proc/sys/net) belongs there."""

    def enter_and_work() -> T:
        enter_netns(str(path))
        return work()

    return _run_in_thread(enter_and_work)


def run_in_netns(
    path: Path,
    argv: Sequence[str | Path],
    *,
    input_text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 30,
) -> subprocess.CompletedProcess[str]:
    """A command's result, whatever its exit code; not by `ip netns exec`, which hides the cgroup mounts."""
    try:
        return subprocess.run(
            ["nsenter", f"--net={path}", "--", *map(str, argv)],
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=build_environment() if environment is None else environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{argv[0]}` in {path.name} didn't end within {timeout_seconds:g} s") from error
    except FileNotFoundError as error:
        raise LabError("the lab needs `nsenter`; install the package util-linux") from error


def run_ip_batch(path: Path, lines: Sequence[str]) -> None:
    """Runs `ip` commands inside the namespace, in one process; the first that fails ends it."""
    done = run_in_netns(path, ["ip", "-batch", "-"], input_text="\n".join(lines) + "\n")
    if done.returncode != 0:
        raise LabError(f"setting up links in {path.name} failed: {' '.join(done.stderr.split())}")


def write_sysctl(path: Path, name: str, value: str) -> None:
    """Sets one of the namespace's own settings, for example "net/ipv4/ip_forward"."""
    call_in_netns(path, lambda: (Path("/proc/sys") / name).write_text(value))


def _run_in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # carried to the caller's thread, below
            errors.append(error)

    thread = threading.Thread(target=run, name="lab-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(result: int, verb: str, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise LabError(
            f"can't {verb} the network namespace {path.name}: {os.strerror(number)}; the lab needs root"
        )
