"""Removes a sandbox although a container's start was cut short in it, which containerd can't by itself.

IO: the CRI call; after one particular refusal a look at /proc and a SIGKILL. Called by `agent.pods.execute`.
A StartContainer that is cancelled at the wrong moment, as by our own death, leaves a task that containerd's
CRI side doesn't know of: the container has exited for it, can't be stopped, and can't be removed either, for
ever. Once the shim of such a sandbox is gone, containerd clears away whatever it held. Seen with 1.6; the
code is the same in 1.7 and 2.x.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from agent.pods.ports import SandboxID
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.service import RuntimeService

_logger = logging.getLogger(__name__)

_REFUSAL: Final = "cannot delete running task"
_SHIM: Final = "containerd-shim"
_PROC: Final = Path("/proc")


async def remove_sandbox(runtime: RuntimeService, sandbox_id: SandboxID) -> None:
    """Removes one that is stopped. Raises RuntimeServiceError; after that refusal the next try succeeds."""
    try:
        await runtime.remove_pod_sandbox(sandbox_id)
    except RuntimeServiceError as error:
        if _REFUSAL in str(error):
            ended = await asyncio.to_thread(end_shims, sandbox_id)
            _logger.warning(
                "a sandbox holds a task that the runtime forgot; its shim was ended",
                extra={"sandbox": sandbox_id, "processes": ended},
            )
        raise


def end_shims(sandbox_id: SandboxID, proc: Path = _PROC) -> tuple[int, ...]:
    """SIGKILL to the processes that containerd keeps for the sandbox; their pids. Idempotent."""
    found = tuple(_find_shims(sandbox_id, proc))
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def _find_shims(sandbox_id: SandboxID, proc: Path) -> Iterator[int]:
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
        names_it = ("-id", str(sandbox_id)) in pairwise(argv)
        if names_it and Path(argv[0]).name.startswith(_SHIM):
            yield int(entry.name)
