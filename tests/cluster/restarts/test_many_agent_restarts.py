"""Forty pods, and an agent that dies fifty times: not one container, readiness or request suffers."""

from __future__ import annotations

import asyncio

import pytest

from kubeapi.client import Client
from kubeapi.informer import Informer
from kubeapi.kubeconfig import read_kubeconfig
from kubeapi.resources import PODS
from lab.cluster import Cluster
from tests.cluster.restarts.conftest import NODE, History, Stage
from tests.cluster.scene import Scene, build_pod, build_shell, build_web, is_ready

PODS_IN_ALL = 40
RESTARTS = 50

EXEC = {"exec": {"command": ["true"]}, "periodSeconds": 5, "failureThreshold": 1}
TCP = {"tcpSocket": {"port": "http"}, "periodSeconds": 2, "failureThreshold": 1}
HTTP = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 1}


async def start_crowd(scene: Scene, count: int) -> None:
    """Pods with all kinds of probes that fail at the first miss, a quarter of them with none."""
    kinds = (
        build_shell(),
        build_shell(readinessProbe=EXEC, livenessProbe=EXEC),
        build_web(readinessProbe=HTTP, startupProbe={**HTTP, "failureThreshold": 30}),
        build_web(readinessProbe=TCP, livenessProbe=HTTP),
    )
    for number in range(count):
        await scene.create(
            PODS, build_pod(f"crowd-{number}", kinds[number % len(kinds)], labels={"crowd": "yes"})
        )
    for number in range(count):
        await scene.wait_for_pod(f"crowd-{number}", is_ready)


@pytest.mark.timeout(900)
async def test_nobody_notices_fifty_deaths(cluster: Cluster, stage: Stage) -> None:
    await start_crowd(stage.scene, PODS_IN_ALL - len(stage.history.states))
    async with Client(read_kubeconfig(cluster.kubeconfig), user_agent="berth-tests") as client:
        crowd, informer = History(), Informer(client, PODS, namespace=stage.scene.namespace)
        informer.subscribe(crowd.note)
        watching = asyncio.create_task(informer.run())
        await informer.wait_until_synced()
        assert len(crowd.states) == PODS_IN_ALL

        for _ in range(RESTARTS):
            await asyncio.to_thread(cluster.restart_node, NODE)
            await stage.wait_for_requests(2)
        await stage.scene.start_pod(build_pod("after-all"))

        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    stage.assert_steady()
    assert [problem for problem in crowd.problems if not problem.startswith("after-all ")] == []
