"""Removes a sandbox although calls for it were cut short, after which containerd can't by itself.

IO: the CRI call; sometimes a look at /proc and a SIGKILL. Called by `agent.pods.execute`.
A StartContainer that is cancelled at the wrong moment, as by our own death, leaves a task that containerd's
CRI side doesn't know of: the container has exited for it, can't be stopped, and can't be removed either, for
ever. Or the shim outlives its sandbox, because it still holds what was forgotten. Once the shim is gone,
containerd clears away whatever it held. Seen with 1.6.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
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


async def remove_sandbox(runtime: RuntimeService, sandbox_id: SandboxID, *, inherited: bool = False) -> None:
    """Removes one that is stopped; `inherited`: an earlier agent made it, whose calls its death cut short.

    Raises RuntimeServiceError; after containerd's refusal because of a task the next try succeeds.
    """
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
    if inherited:
        await asyncio.to_thread(end_shims, sandbox_id)


def end_shims(sandbox_id: SandboxID, proc: Path = _PROC) -> tuple[int, ...]:
    """SIGKILL to the processes that containerd keeps for the sandbox; their pids. Idempotent."""
    found = find_shims(sandbox_id, proc)
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def find_shims(sandbox_id: SandboxID, proc: Path = _PROC) -> tuple[int, ...]:
    """The pids of the processes that containerd keeps for the sandbox: one, as long as there is anything."""
    return tuple(
        int(entry.name) for entry in proc.iterdir() if entry.name.isdigit() and _is_shim(entry, sandbox_id)
    )


def _is_shim(entry: Path, sandbox_id: SandboxID) -> bool:
    try:
        argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False  # it ended meanwhile
    return ("-id", str(sandbox_id)) in pairwise(argv) and Path(argv[0]).name.startswith(_SHIM)
