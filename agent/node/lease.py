"""Keeps the node's Lease renewed, so that the control plane knows the node is alive.

IO: one PATCH every ten seconds, on a task of its own that waits for nothing else. Called by `agent.app`.
Follows the "Leases" page and the kubelet's intervals: renewed every 10 s, valid for 40 s.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from agent.node.api import LEASE_NAMESPACE, LeaseApi
from kubeapi.backoff import Backoff
from kubeapi.errors import KubeAPIError
from kubeapi.meta import format_micro_time

_log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 40
RENEW_SECONDS: Final = 10.0
_JITTER: Final = 0.04
_RETRY: Final = Backoff(initial_seconds=0.2, maximum_seconds=7.0)


def build_lease_spec(holder: str, now: datetime) -> Mapping[str, object]:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": format_micro_time(now),
    }


def build_lease(node_name: str, node_uid: str, now: datetime) -> Mapping[str, object]:
    """The Lease; owned by the Node where its uid is known, so that it goes with it."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node_name,
            "namespace": LEASE_NAMESPACE,
            **({"ownerReferences": [owner]} if node_uid else {}),
        },
        "spec": build_lease_spec(node_name, now),
    }


class LeaseKeeper:
    """`node_uid` answers the Node's uid, empty while it isn't known; `on_recovery` is called at the first
    renewal after failures.
    """

    def __init__(
        self,
        api: LeaseApi,
        node_name: str,
        clock: Callable[[], datetime],
        node_uid: Callable[[], str],
        on_recovery: Callable[[], None],
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._clock = clock
        self._node_uid = node_uid
        self._on_recovery = on_recovery

    async def run(self) -> None:
        """Renews until cancelled; after a failure sooner again."""
        failures = 0
        while True:
            try:
                await self.renew()
                if failures:
                    self._on_recovery()
                failures = 0
                delay = RENEW_SECONDS * (1 + _JITTER * random.random())
            except KubeAPIError as error:
                delay = _RETRY.delay(failures, random.random())
                failures += 1
                _log.warning(
                    "the node's lease could not be renewed",
                    extra={"attempt": failures, "why": str(error), "retry_seconds": round(delay, 1)},
                )
            await asyncio.sleep(delay)

    async def renew(self) -> None:
        """One renewal; makes the Lease where there is none. Raises KubeAPIError."""
        now = self._clock()
        if not await self._api.patch_lease(self._node_name, build_lease_spec(self._node_name, now)):
            await self._api.create_lease(build_lease(self._node_name, self._node_uid(), now))
