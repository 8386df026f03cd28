"""How much a benchmark measures.

Pure values. Made by the command line and by the smoke tests, which want little.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """`count`: samples of each timing. `burst`: pods created at once, `rounds` times over; 0 pods: no burst.

    `services`: Services of ten endpoints each beside the pods, on a second node; 0: no such node.
    """

    count: int = 20
    burst: int = 50
    rounds: int = 3
    services: int = 1_000
