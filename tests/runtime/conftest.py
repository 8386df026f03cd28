"""Fixtures of the tests against real containerd: one node of a lab, without a control plane.

The lab is named after this process: several test runs don't meet, and what a killed run left is removed by
its watchdog, or by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.bare_pods import BareRuntime, open_bare_runtime, write_bridge_conf
from lab.runtime_node import RuntimeNode, running_runtime_node


@pytest.fixture(scope="session")
def runtime_node() -> Iterator[RuntimeNode]:
    """A network namespace with a containerd of its own, our images, and a CNI bridge for 10.244.1.0/24."""
    with running_runtime_node(f"rt-{os.getpid()}") as node:
        write_bridge_conf(node)
        yield node


@pytest.fixture
def bare_runtime(runtime_node: RuntimeNode) -> Iterator[BareRuntime]:
    """The node's CRI services, for pods that no agent knows."""
    with open_bare_runtime(runtime_node) as runtime:
        yield runtime
