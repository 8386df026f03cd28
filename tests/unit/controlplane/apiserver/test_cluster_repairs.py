"""What every cluster has comes back when somebody deletes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from random import Random

from controlplane.apiserver.allocation import Ranges
from controlplane.apiserver.bootstrap import ApiServiceAddress, ensure_cluster, run_repairs
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.deletion import DeleteOptions
from controlplane.apiserver.documents import decode_json
from controlplane.apiserver.kinds import SERVICE
from controlplane.apiserver.registry import Registry
from controlplane.apiserver.service_addresses import ServiceAddresses
from controlplane.storage.memory import MemoryStorage

ADDRESS = ApiServiceAddress("10.96.0.1", "192.0.2.1", 6443)


@asynccontextmanager
async def bootstrapped_registry() -> AsyncIterator[tuple[Registry, MemoryStorage]]:
    storage = MemoryStorage()
    cache = WatchCache(storage)
    await cache.load()
    ranges = Ranges((ip_network("10.96.0.0/24"),))
    addresses = ServiceAddresses(cache, ranges, Random(7))
    registry = Registry(storage, cache, addresses, lambda: datetime(2026, 1, 2, tzinfo=UTC))
    follower = asyncio.create_task(cache.run())
    try:
        await ensure_cluster(registry, ADDRESS)
        yield registry, storage
    finally:
        follower.cancel()
        await asyncio.wait([follower])


async def test_a_whole_cluster_is_left_as_it_is() -> None:
    async with bootstrapped_registry() as (registry, storage):
        before = storage.revision
        await ensure_cluster(registry, ADDRESS)
        assert storage.revision == before


async def test_the_deleted_api_service_comes_back_with_its_address() -> None:
    async with bootstrapped_registry() as (registry, storage):
        await registry.delete(SERVICE, "default", "kubernetes", DeleteOptions())
        changes = storage.watch(SERVICE.prefix, storage.revision)
        repairs = asyncio.create_task(run_repairs(registry, ADDRESS, period_seconds=0))
        try:
            async with asyncio.timeout(5):
                (change, *_) = await anext(aiter(changes))
        finally:
            repairs.cancel()
            await asyncio.wait([repairs])
        assert change.value is not None
        assert decode_json(change.value)["spec"]["clusterIP"] == "10.96.0.1"
