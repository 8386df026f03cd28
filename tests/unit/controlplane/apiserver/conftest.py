"""Fixtures of the API server's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.controlplane.apiserver.api_harness import Api, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """An API server on memory storage, with the administrator's client."""
    async with running_api(tmp_path) as running:
        yield running
