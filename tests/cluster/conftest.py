"""Fixtures of the tests against whole clusters: server and agents in labs, made when first used.

Tests share a cluster and keep apart by namespaces of their own; a test that kills or cuts something puts it
right again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.cluster import Cluster, ClusterSettings, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One node, Ready; `cluster.kubeconfig` works from this process."""
    settings = ClusterSettings(name=f"one-{os.getpid()}", nodes=1, bound_to_this_process=True)
    with running_cluster(settings) as running:
        yield running


@pytest.fixture(scope="session")
def three_node_cluster() -> Iterator[Cluster]:
    """Three nodes, Ready."""
    settings = ClusterSettings(name=f"three-{os.getpid()}", nodes=3, bound_to_this_process=True)
    with running_cluster(settings) as running:
        yield running
