"""Cluster DNS on the node itself: joins zone, sockets and forwarding, and keeps them going.

Does IO. Joined up by `agent.app`. It owns the cluster DNS address on `lo`, the zone in memory, and the
answers to the pods of this node. A failure to listen is logged and tried again: it must not take the pods
down with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from typing import Final

from agent.dns.forward import DNS_PORT, Forwarder
from agent.dns.listener import DnsListener
from agent.dns.local_address import LocalAddress
from agent.dns.resolvers import Resolvers
from agent.dns.responder import Responder
from agent.dns.zone import Zone
from agent.errors import AgentError
from agent.object_source import ObjectSource
from agent.settings import AgentSettings
from kubeapi.backoff import Backoff
from kubeapi.core import Service
from kubeapi.discovery import EndpointSlice
from kubeapi.object_store import Change

_logger = logging.getLogger(__name__)

_RETRY: Final = Backoff(initial_seconds=0.5, maximum_seconds=30.0)
_LOOK_SECONDS: Final = 10.0


class DnsServer:
    """Answers for the Services that the informers show, and forwards the rest."""

    def __init__(
        self,
        services: ObjectSource[Service],
        slices: ObjectSource[EndpointSlice],
        settings: AgentSettings,
        *,
        port: int = DNS_PORT,
    ) -> None:
        self._services = services
        self._slices = slices
        self._settings = settings
        self._zone = Zone(settings.cluster_domain, settings.cluster_dns)
        self._resolvers = Resolvers(settings.cluster_dns, secrets.token_hex(8))
        self._forwarder = Forwarder(settings.resolv_conf, self._resolvers)
        responder = Responder(self._zone, self._is_ready, self._forwarder, self._resolvers)
        self._listener = DnsListener(responder, settings.cluster_dns, port)
        self._address = LocalAddress(settings.root_dir / "dns" / "local-address")
        self._listening = asyncio.Event()

    async def run(self) -> None:
        """Serves until cancelled."""
        self._services.subscribe(self._service_changed)
        self._slices.subscribe(self._slice_changed)
        failures = 0
        while True:
            try:
                await self._serve()
            except* AgentError as group:
                self._listening.clear()
                delay = _RETRY.delay(failures, random.random())
                failures += 1
                _logger.error(
                    "Cluster DNS is not served; it is tried again",
                    extra={"error": str(group.exceptions[0]), "delay_seconds": round(delay, 1)},
                )
            await asyncio.sleep(delay)

    async def wait_until_listening(self) -> None:
        await self._listening.wait()

    async def remove(self) -> None:
        """Takes the cluster DNS address off `lo`, if it was put there by us; raises AgentError."""
        await self._address.remove()

    async def _serve(self) -> None:
        await self._address.ensure(self._settings.cluster_dns)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run(self._listening))
            group.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        """Puts the address back when somebody took it, and looks for loops when the resolvers change."""
        await self._listening.wait()
        _logger.info("Cluster DNS is served", extra={"address": self._settings.cluster_dns})
        while True:
            if self._forwarder.reread_resolvers():
                await self._forwarder.probe_for_loops()
            await asyncio.sleep(_LOOK_SECONDS)
            if await self._address.ensure(self._settings.cluster_dns):
                _logger.warning(
                    "The cluster DNS address was gone and is back",
                    extra={"address": self._settings.cluster_dns},
                )

    def _is_ready(self) -> bool:
        return self._services.has_synced and self._slices.has_synced

    def _service_changed(self, change: Change[Service]) -> None:
        self._zone.change_service(change.key, change.new)

    def _slice_changed(self, change: Change[EndpointSlice]) -> None:
        self._zone.change_slice(change.old, change.new)
