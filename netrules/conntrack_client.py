"""Makes the kernel forget stale flows.

Shell: one dump filtered by the kernel per frontend, then one exact removal per stale flow, in a thread.
Called by the agent's proxy after the rules have changed, off their path. What is stale is `conntrack`'s
matter.
"""

from __future__ import annotations

import asyncio
import errno

from netrules import conntrack
from netrules.conntrack import StaleFlows
from netrules.errors import RulesError
from netrules.model import Family
from netrules.netlink_socket import NetlinkSocket


async def remove_stale_flows(flows: tuple[StaleFlows, ...], family: Family) -> int:
    """Removes them and says how many there were; an entry that is already gone is fine. Raises RulesError."""
    if not flows:
        return 0
    return await asyncio.to_thread(_remove, flows, family)


def _remove(flows: tuple[StaleFlows, ...], family: Family) -> int:
    with NetlinkSocket() as socket:
        return sum(_remove_one_kind(socket, some, family) for some in flows)


def _remove_one_kind(socket: NetlinkSocket, flows: StaleFlows, family: Family) -> int:
    removed = 0
    for payload in socket.dump(conntrack.GET, conntrack.encode_dump_request(flows, family)):
        flow = conntrack.decode_flow(payload, family)
        if flow is None or not conntrack.matches_request(flow, flows, family):
            continue
        if not conntrack.is_stale(flow, flows):
            continue
        error = socket.request(conntrack.DELETE, conntrack.encode_delete_request(flow, family))
        if error is not None and error.errno != errno.ENOENT:
            raise RulesError(
                f"the UDP flow to {flows.address or 'node port'}:{flows.port} cannot be removed: {error}"
            )
        removed += error is None
    return removed
