"""What one endpoint change costs the kernel and us, by the number of Services.

Shell, as root (`python -m bench.netrules_update`); works in a network namespace of its own that goes with the
process. Prints JSON: for each size the time and CPU time of the first load, of reading everything back, and
of one endpoint replaced (planning, encoding, netlink and the kernel's commit together), with the bytes sent
for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from netrules.diff import diff_rulesets
from netrules.model import Family, Protocol
from netrules.nftables.backend import NftablesBackend
from netrules.nftables.encode import encode_transaction
from netrules.services import Backend, RulesetSettings, ServiceIntent
from netrules.tracker import Tracker
from netrules.transaction import split_transaction

_CLONE_NEWNET: Final = 0x40000000
_ENDPOINTS: Final = 10
_CHANGES: Final = 50


def _service(number: int) -> ServiceIntent:
    backends = (
        Backend(f"10.{128 + (number >> 8)}.{number & 255}.{n}", 8080) for n in range(1, _ENDPOINTS + 1)
    )
    return ServiceIntent(
        name=f"default/s{number}",
        protocol=Protocol.TCP,
        port=80,
        cluster_addresses=(f"10.96.{number >> 8}.{number & 255}",),
        endpoints=tuple(backends),
    )


async def measure_updates(services: int) -> Mapping[str, float]:
    """Loads that many Services, changes one of them again and again, and removes everything."""
    backend = NftablesBackend(RulesetSettings(Family.IPV4, ("10.128.0.0/9",)))
    tracker = Tracker(backend.layout)
    load = _Clock()
    for number in range(services):
        tracker.set_intents(f"s{number}", (_service(number),))
    tracker.take_transaction()
    for part in split_transaction(diff_rulesets(await backend.read(), tracker.ruleset()), 5000):
        await backend.apply(part)
    load_seconds, load_cpu = load.read()
    reading = _Clock()
    if diff_rulesets(await backend.read(), tracker.ruleset()):
        raise RuntimeError("the kernel doesn't hold what was loaded")
    read_seconds, _ = reading.read()
    changes = await _change_one(backend, tracker, services // 2)
    await backend.remove()
    backend.close()
    return {
        "services": services,
        "endpoints_each": _ENDPOINTS,
        "load_seconds": load_seconds,
        "load_cpu_seconds": load_cpu,
        "read_seconds": read_seconds,
        **changes,
    }


async def _change_one(backend: NftablesBackend, tracker: Tracker, number: int) -> Mapping[str, float]:
    service = _service(number)
    seconds, cpu, sent = [], [], 0
    for last in range(_CHANGES):
        replaced = replace(service, endpoints=(*service.endpoints[1:], Backend(f"10.254.0.{last + 1}", 8080)))
        clock = _Clock()
        tracker.set_intents(f"s{number}", (replaced,))
        transaction = tracker.take_transaction()
        await backend.apply(transaction)
        elapsed, used = clock.read()
        seconds.append(elapsed)
        cpu.append(used)
        sent = len(encode_transaction(transaction).data)
    return {
        "change_p50_ms": statistics.median(seconds) * 1000,
        "change_p99_ms": sorted(seconds)[int(_CHANGES * 0.99)] * 1000,
        "change_cpu_p50_ms": statistics.median(cpu) * 1000,
        "change_bytes": sent,
    }


class _Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        wall, cpu = self._started
        return time.perf_counter() - wall, time.process_time() - cpu


def main() -> int:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        print(
            f"a network namespace cannot be made: {os.strerror(ctypes.get_errno())}; run as root",
            file=sys.stderr,
        )
        return 1
    results = [asyncio.run(measure_updates(services)) for services in (100, 1000, 10_000)]
    print(json.dumps({"bench": "netrules_update", "results": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
