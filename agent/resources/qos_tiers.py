"""Keeps the weights of the QoS tiers: the cgroups that hold all best-effort and all burstable pods.

IO through `pod_cgroups`, every few seconds; runs as a loop of the agent. Without it, all best-effort pods
together would weigh as much as a whole CPU's requests. Guaranteed pods lie beside the tiers and weigh what
they request. Follows the kubelet's QoS cgroups.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from agent.resources.pod_cgroups import PodCgroups
from agent.resources.pod_limits import compute_tier_shares
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)

_PERIOD_SECONDS: Final = 5.0


class QosTiers:
    """`read_pods` answers with the pods of this node, from memory."""

    def __init__(self, cgroups: PodCgroups, read_pods: Callable[[], Iterable[Pod]]) -> None:
        self._cgroups = cgroups
        self._read_pods = read_pods
        self._complaint = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.write()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def write(self) -> None:
        """The weights as they should be now; what can't be written is told once, and tried again."""
        try:
            await self._cgroups.limit_tiers(compute_tier_shares(self._read_pods()))
        except OSError as error:
            complaint = f"{error.filename}: {error.strerror}"
            if complaint != self._complaint:
                _logger.warning("the QoS tiers' weights can't be set", extra={"error": complaint})
            self._complaint = complaint
        else:
            self._complaint = ""
