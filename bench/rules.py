"""What one endpoint change costs the kernel and us, at 100, 1,000 and 10,000 Services.

A shell in a network namespace of its own. Measures planning, encoding, netlink and the kernel's commit
together; the floor is the same change among 100 Services, because cost is to follow the change, not the size.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.options import BenchOptions
from bench.report import Figure, Ratio, Report, Samples
from lab.namespaces import call_in_netns, create_netns, remove_netns
from netrules.diff import diff_rulesets
from netrules.model import Family, Protocol
from netrules.nftables.backend import NftablesBackend
from netrules.nftables.encode import encode_transaction
from netrules.services import Backend, RulesetSettings, ServiceIntent
from netrules.tracker import Tracker
from netrules.transaction import split_transaction

SIZES: Final = (100, 1_000, 10_000)
GROWTH_AIM: Final = 1.3
_ENDPOINTS: Final = 10
_LOAD_BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class SizeResult:
    """At one number of Services: seconds of the first load, and of each change, and a change's bytes."""

    services: int
    load_seconds: float
    change_seconds: tuple[float, ...]
    change_bytes: int


def run(options: BenchOptions) -> Report:
    """Measures `options.count` changes at each size."""
    netns = Path(f"/run/netns/berth-bench-rules-{os.getpid()}")
    create_netns(netns)
    try:
        return build_report(
            [call_in_netns(netns, partial(_measure_size, size, options.count)) for size in SIZES]
        )
    finally:
        remove_netns(netns)


def build_report(results: list[SizeResult]) -> Report:
    changes = [
        Samples(f"one endpoint changed, {result.services:,} Services", result.change_seconds)
        for result in results
    ]
    return Report(
        "rules",
        samples=tuple(changes),
        figures=tuple(
            figure
            for result in results
            for figure in (
                Figure(f"first load, {result.services:,} Services", result.load_seconds, "s"),
                Figure(f"bytes a change, {result.services:,} Services", result.change_bytes, "bytes"),
            )
        ),
        ratios=(
            Ratio(
                f"change p50 at {results[-1].services:,} over {results[0].services:,}",
                changes[-1].percentile(50) / changes[0].percentile(50),
                GROWTH_AIM,
            ),
        ),
    )


def _measure_size(services: int, count: int) -> SizeResult:
    return asyncio.run(_measure(services, count))


async def _measure(services: int, count: int) -> SizeResult:
    """Loads that many Services, changes one of them again and again, and removes everything."""
    backend = NftablesBackend(RulesetSettings(Family.IPV4, ("10.128.0.0/9",)))
    tracker = Tracker(backend.layout)
    started = time.perf_counter()
    for number in range(services):
        tracker.set_intents(f"s{number}", (_build_service(number),))
    tracker.take_transaction()
    for part in split_transaction(diff_rulesets(await backend.read(), tracker.ruleset()), _LOAD_BATCH):
        await backend.apply(part)
    load_seconds = time.perf_counter() - started
    seconds, size = await _change_one(backend, tracker, services // 2, count)
    await backend.remove()
    backend.close()
    return SizeResult(services, load_seconds, seconds, size)


async def _change_one(
    backend: NftablesBackend, tracker: Tracker, number: int, count: int
) -> tuple[tuple[float, ...], int]:
    service = _build_service(number)
    seconds, sent = [], 0
    for last in range(count):
        endpoint = Backend(f"10.254.{last >> 8}.{last & 255}", 8080)
        replaced = replace(service, endpoints=(*service.endpoints[1:], endpoint))
        started = time.perf_counter()
        tracker.set_intents(f"s{number}", (replaced,))
        transaction = tracker.take_transaction()
        await backend.apply(transaction)
        seconds.append(time.perf_counter() - started)
        sent = len(encode_transaction(transaction).data)
    return tuple(seconds), sent


def _build_service(number: int) -> ServiceIntent:
    endpoints = (
        Backend(f"10.{128 + (number >> 8)}.{number & 255}.{last}", 8080) for last in range(1, _ENDPOINTS + 1)
    )
    return ServiceIntent(
        name=f"default/s{number}",
        protocol=Protocol.TCP,
        port=80,
        cluster_addresses=(f"10.96.{number >> 8}.{number & 255}",),
        endpoints=tuple(endpoints),
    )
