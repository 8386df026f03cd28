"""The certificate that the node's HTTPS server shows.

IO: runs `selfsigned` as a child process, which makes the pair or keeps a good one. Called by `agent.app` at
start.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CHILD_SECONDS: Final = 60.0
_CERTIFICATE_FILE: Final = "kubelet.crt"
_KEY_FILE: Final = "kubelet.key"


class NoServingCertificate(Exception):
    """The pair couldn't be made; one sentence."""


@dataclass(frozen=True, slots=True)
class ServingPair:
    certificate: Path
    key: Path


async def ensure_serving_pair(root_dir: Path, node_name: str, node_ip: str) -> ServingPair:
    """A pair below `root_dir`/pki that is valid for the name and the address; raises NoServingCertificate."""
    directory = root_dir / "pki"
    command = (sys.executable, "-m", "agent.server.selfsigned", str(directory), node_name, node_ip)
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CHILD_SECONDS):
            _, trouble = await child.communicate()
    except TimeoutError as error:
        raise NoServingCertificate(
            f"making the serving certificate took over {_CHILD_SECONDS:g} s"
        ) from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = trouble.decode(errors="replace").strip().rpartition("\n")[2]
        raise NoServingCertificate(last or f"the child process ended with {child.returncode}")
    return ServingPair(directory / _CERTIFICATE_FILE, directory / _KEY_FILE)
