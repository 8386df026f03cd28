"""What a lab's node remembers of its pods, for tests without an API server to ask, and how it forgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.checkpoint.records import PodRecord, decode_record
from lab.runtime_node import RuntimeNode

_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def read_records(node: RuntimeNode) -> Mapping[str, PodRecord]:
    """The pods of the checkpoint by name."""
    found = {}
    for path in (node.paths.agent_root / "checkpoint" / "pods").glob("*.json"):
        try:
            record = decode_record(path.read_bytes())
        except FileNotFoundError:
            continue  # gone since it was listed
        found[record.pod.metadata.name] = record
    return found


async def wait_for_records(
    node: RuntimeNode, is_wanted: Callable[[Mapping[str, PodRecord]], bool]
) -> Mapping[str, PodRecord]:
    """Until the node's memory is as wanted; nobody tells, so this looks again and again."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_wanted(found := read_records(node)):
        assert time.monotonic() < deadline, {name: record.pod.status for name, record in found.items()}
        await asyncio.sleep(_LOOK_SECONDS)
    return found


def forget_what_lived_in_memory(node: RuntimeNode) -> None:
    """What killed processes leave behind and a machine that was switched off doesn't."""
    root = node.paths.agent_root
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{root}/")]):
        node.run(["umount", mount])
    (root / "checkpoint" / "boot-id").write_text("an earlier boot\n")
    for command in (
        "nft flush ruleset",
        "ip link del berth0",
        "ip route flush proto 66",
        "sysctl -qw net.ipv4.ip_forward=0",
    ):
        node.run(command.split())
