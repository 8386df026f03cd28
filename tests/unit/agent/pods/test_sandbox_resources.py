"""What a sandbox's configuration says of resources, for runtimes that size virtual machines by it."""

from __future__ import annotations

from agent.pods.config.sandbox_config import build_sandbox_config
from kubeapi.pod import ResourceRequirements
from tests import builders
from tests.simulation.agent.pod_world import ENVIRONMENT

AMOUNTS = {"cpu": "500m", "memory": "64Mi"}


def test_the_sum_of_the_containers_and_the_overhead_stand_apart() -> None:
    resources = ResourceRequirements(requests=AMOUNTS, limits=AMOUNTS)
    containers = (
        builders.container("a", resources=resources),
        builders.container("b", resources=resources),
    )
    overhead = {"cpu": "250m", "memory": "128Mi"}
    pod = builders.pod(spec={"containers": containers, "overhead": overhead})
    linux = build_sandbox_config(pod, 0, ENVIRONMENT).linux
    assert (linux.resources.cpu_quota, linux.resources.cpu_shares) == (100_000, 1024)
    assert linux.resources.memory_limit_in_bytes == 128 << 20
    assert (linux.overhead.cpu_quota, linux.overhead.cpu_shares) == (25_000, 256)
    assert linux.overhead.memory_limit_in_bytes == 128 << 20


def test_a_pod_without_overhead_names_none() -> None:
    assert not build_sandbox_config(builders.pod(), 0, ENVIRONMENT).linux.HasField("overhead")
