"""The certificate that the node's HTTPS server shows.

IO: runs `selfsigned` as a child process, which makes the pair or keeps a good one. Called by `agent.app` at
start.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_CHILD_SECONDS: Final = 60.0
CERTIFICATE_FILE: Final = "kubelet.crt"
KEY_FILE: Final = "kubelet.key"
STAMP_FILE: Final = "kubelet.stamp"


class NoServingCertificate(Exception):
    """The pair couldn't be made; one sentence."""


@dataclass(frozen=True, slots=True)
class ServingPair:
    certificate: Path
    key: Path


def build_stamp(node_name: str, node_ip: str, renew_at: datetime) -> str:
    """What the child leaves beside a pair, so that a restarted agent needs no child to trust it."""
    return f"{renew_at.isoformat()} {node_ip} {node_name}"


def is_stamp_good(stamp: str, node_name: str, node_ip: str, now: datetime) -> bool:
    """Whether the pair with this stamp is valid for the name and the address, and for long enough."""
    renew_at, _, rest = stamp.partition(" ")
    try:
        return rest == f"{node_ip} {node_name}" and now < datetime.fromisoformat(renew_at)
    except ValueError:
        return False


async def ensure_serving_pair(root_dir: Path, node_name: str, node_ip: str) -> ServingPair:
    """A pair below `root_dir`/pki that is valid for the name and the address; raises NoServingCertificate."""
    directory = root_dir / "pki"
    pair = ServingPair(directory / CERTIFICATE_FILE, directory / KEY_FILE)
    if _is_kept(pair, directory / STAMP_FILE, node_name, node_ip):
        return pair
    await _run_child(directory, node_name, node_ip)
    return pair


def _is_kept(pair: ServingPair, stamp: Path, node_name: str, node_ip: str) -> bool:
    try:
        return (
            pair.certificate.exists()
            and pair.key.exists()
            and is_stamp_good(stamp.read_text(), node_name, node_ip, datetime.now(UTC))
        )
    except OSError:
        return False


async def _run_child(directory: Path, node_name: str, node_ip: str) -> None:
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
