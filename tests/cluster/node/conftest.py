"""A namespace of the test's own on the cluster of one node."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lab.cluster import Cluster
from tests.cluster.scene import Scene, new_scene


@pytest.fixture
async def scene(cluster: Cluster) -> AsyncIterator[Scene]:
    async with new_scene(cluster, "node") as made:
        yield made
