"""The runs of `./dev soak`, small: nothing is found that must not happen."""

from __future__ import annotations

import pytest

from bench.soak.agent_restarts import soak_agent
from bench.soak.findings import render_findings
from bench.soak.hanging_mount import soak_hanging_mount
from bench.soak.hanging_runtime import soak_hanging_runtime
from bench.soak.kill_cycles import soak_kills
from bench.soak.runtime_restarts import soak_runtime
from lab.cluster import Cluster


async def test_an_agent_that_dies_again_and_again_is_not_noticed(cluster: Cluster) -> None:
    findings = await soak_agent(cluster, pods=12, restarts=3)
    assert findings.clean, render_findings(findings)


async def test_all_converge_under_a_runtime_that_dies_again_and_again(cluster: Cluster) -> None:
    findings = await soak_runtime(cluster, pods=8, restarts=2)
    assert findings.clean, render_findings(findings)


async def test_one_hanging_mount_among_many_pods_is_named_and_harms_nobody(cluster: Cluster) -> None:
    findings = await soak_hanging_mount(cluster, pods=8, newcomers=2)
    assert findings.clean, render_findings(findings)


async def test_one_pod_whose_calls_hang_among_many_is_named_and_harms_nobody(cluster: Cluster) -> None:
    findings = await soak_hanging_runtime(cluster, pods=8, newcomers=2)
    assert findings.clean, render_findings(findings)


@pytest.mark.timeout(300)
async def test_an_agent_killed_at_each_action_leaves_nothing_and_starts_nothing_twice(
    cluster: Cluster,
) -> None:
    findings = await soak_kills(cluster, cycles=30)
    assert findings.clean, render_findings(findings)
