"""The API server put together: cache, registry, HTTP, on listening sockets and a storage that it is given.

IO. `serve` is an asynchronous context: inside it the server answers, on leaving it watches end, relays are
cut and open requests get a moment to finish. Called by the composition root and by tests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_network
from random import SystemRandom
from typing import Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from controlplane.apiserver.allocation import Ranges
from controlplane.apiserver.bootstrap import ApiServiceAddress, ensure_cluster, run_repairs
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.compaction import run_compaction
from controlplane.apiserver.failures import ApiFailure
from controlplane.apiserver.http_server import HttpServer
from controlplane.apiserver.node_requests import NodeRequests
from controlplane.apiserver.object_requests import ObjectRequests
from controlplane.apiserver.registry import Registry, read_utc_clock
from controlplane.apiserver.service_addresses import ServiceAddresses
from controlplane.apiserver.static_documents import StaticDocuments
from controlplane.apiserver.tokens.signer import TokenSigner
from controlplane.apiserver.watch_requests import WatchRequests
from controlplane.errors import ServerError
from controlplane.storage.contract import Storage

_SHUTDOWN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerOptions:
    """`tls` None serves plain HTTP and `node_tls` None calls nodes so: only for tests."""

    tls: ssl.SSLContext | None
    node_tls: ssl.SSLContext | None
    service_cidr: str
    cluster_dns: str = ""
    advertise_address: str
    port: int
    signing_key: EllipticCurvePrivateKey = field(repr=False)
    token_issuer: str = "https://kubernetes.default.svc.cluster.local"
    now: Callable[[], datetime] = read_utc_clock


@dataclass(slots=True)
class Readiness:
    """What /readyz tells: set once the server serves, cleared when it begins to stop."""

    is_ready: bool = False


@asynccontextmanager
async def serve(
    storage: Storage, sockets: Sequence[socket.socket], options: ApiServerOptions
) -> AsyncIterator[Readiness]:
    """Serve on `sockets` until the context is left; an ExceptionGroup if a part of the server fails."""
    cache = WatchCache(storage)
    await cache.load()
    random = SystemRandom()
    reserved = frozenset({options.cluster_dns} if options.cluster_dns else ())
    ranges = Ranges((ip_network(options.service_cidr),), reserved_addresses=reserved)
    address = _build_address(options, ranges)
    registry = Registry(storage, cache, ServiceAddresses(cache, ranges, random), options.now)
    signer = TokenSigner(options.signing_key, options.token_issuer)
    readiness = Readiness()
    async with asyncio.TaskGroup() as tasks, NodeRequests(registry, options.node_tls) as nodes:
        background = [tasks.create_task(cache.run()), tasks.create_task(run_compaction(storage))]
        try:
            await ensure_cluster(registry, address)
        except ApiFailure as failure:
            raise ServerError(f"the cluster's own objects cannot be made: {failure}") from failure
        background.append(tasks.create_task(run_repairs(registry, address)))
        http = HttpServer(
            ObjectRequests(registry, cache, storage, signer, options.now),
            WatchRequests(cache, options.now, random),
            nodes,
            StaticDocuments(f"{options.advertise_address}:{options.port}", signer),
            lambda: readiness.is_ready,
        )
        runner = await _start(http.build_application(), sockets, options.tls)
        readiness.is_ready = True
        try:
            yield readiness
        finally:
            readiness.is_ready = False
            # aiohttp would wait for open watches, then cut them short of their last chunk.
            cache.close_watchers()
            nodes.close_relays()
            await runner.cleanup()
            for task in background:
                task.cancel()


async def _start(
    application: web.Application, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> web.AppRunner:
    runner = web.AppRunner(
        application,
        handler_cancellation=True,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        keepalive_timeout=120.0,
    )
    await runner.setup()
    for each in sockets:
        await web.SockSite(runner, each, ssl_context=tls, backlog=512).start()
    return runner


def _build_address(options: ApiServerOptions, ranges: Ranges) -> ApiServiceAddress:
    return ApiServiceAddress(str(ranges.networks[0][1]), options.advertise_address, options.port)
