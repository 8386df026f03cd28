"""What every tier shares: Hypothesis without wall-clock deadlines, and the same examples on every run.

`BERTH_HYPOTHESIS=search` looks for new examples instead, as long as someone watches. `BERTH_LAB_RUNTIME`
names the runtime that the labs of all tiers get (`./dev test --runtime`).
"""

from __future__ import annotations

import os

from hypothesis import settings


def pytest_report_header() -> str:
    return f"lab runtime: {os.environ.get('BERTH_LAB_RUNTIME') or 'of this machine'}"


settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("search" if os.environ.get("BERTH_HYPOTHESIS") == "search" else "repeatable")
