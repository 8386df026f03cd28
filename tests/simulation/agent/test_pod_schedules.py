"""Thousands of seeded schedules of lost events, failing and hanging calls, deaths and crashes.

What must hold is in `pod_schedules`. BERTH_SIMULATION_SEEDS says how many schedules are played (a soak plays
many more than a test run), BERTH_SIMULATION_FIRST from which seed on. A seed that fails says how to play it
again.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.agent.pod_schedules import Schedule
from tests.simulation.agent.virtual_time import run_virtually

_BATCHES = 20
_SEEDS = int(os.environ.get("BERTH_SIMULATION_SEEDS", "1000"))
_FIRST = int(os.environ.get("BERTH_SIMULATION_FIRST", "0"))


@pytest.mark.parametrize("batch", range(min(_BATCHES, _SEEDS)))
def test_no_schedule_doubles_leaks_or_blocks_a_pod(batch: int) -> None:
    for seed in range(_FIRST + batch, _FIRST + _SEEDS, _BATCHES):
        try:
            run_virtually(Schedule(seed).play())
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nThis was seed {seed}; play it again with BERTH_SIMULATION_FIRST={seed} "
                f"BERTH_SIMULATION_SEEDS=1 pytest {os.path.relpath(__file__)}"
            ) from error
