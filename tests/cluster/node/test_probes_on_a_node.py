"""Readiness, liveness and startup probes of each kind, and what follows from their results."""

from __future__ import annotations

from typing import Any

import pytest

from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.images import WEB_PORT
from tests.cluster.scene import Scene, build_pod, build_shell, build_web, find_status, is_ready

EACH_SECOND = {"periodSeconds": 1, "failureThreshold": 1}
FILE = {"exec": {"command": ["cat", "/tmp/fine"]}, **EACH_SECOND}
WITH_FILE = "touch /tmp/fine; exec sleep 86400"


def has_restarted(pod: Pod) -> bool:
    status = find_status(pod)
    return status is not None and status.restart_count > 0 and status.state.running is not None


async def test_readiness_follows_the_probe_both_ways(scene: Scene) -> None:
    await scene.start_pod(build_pod("asked", build_shell(WITH_FILE, readinessProbe=FILE)))

    await scene.run_in_pod("asked", "rm", "/tmp/fine")
    unready = await scene.wait_for_pod("asked", lambda pod: not is_ready(pod))
    condition = next(each for each in unready.status.conditions if each.type == "Ready")
    assert (condition.reason, condition.message) == (
        "ContainersNotReady",
        "containers with unready status: [main]",
    )
    await scene.wait_for_event("asked", "Unhealthy", "Readiness probe failed: cat: can't open '/tmp/fine'")

    await scene.run_in_pod("asked", "touch", "/tmp/fine")
    ready = await scene.wait_for_pod("asked", is_ready)
    assert ready.status.container_statuses[0].restart_count == 0


@pytest.mark.parametrize(
    "action",
    [
        {"httpGet": {"path": "/healthz", "port": "http"}},
        {"tcpSocket": {"port": WEB_PORT}},
        {"exec": {"command": ["cat", "/www/healthz"]}},
    ],
    ids=["http", "tcp", "exec"],
)
async def test_a_pod_becomes_ready_by_each_kind_of_probe(scene: Scene, action: dict[str, Any]) -> None:
    await scene.start_pod(
        build_pod(
            "asked", build_web(readinessProbe={**action, "periodSeconds": 1}, livenessProbe=dict(action))
        )
    )


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"httpGet": {"path": "/missing", "port": WEB_PORT}}, "HTTP probe failed with statuscode: 404"),
        ({"tcpSocket": {"port": 1}}, "connection refused"),
        ({"exec": {"command": ["cat", "/missing"]}}, "can't open '/missing'"),
        ({"exec": {"command": ["sleep", "60"]}, "timeoutSeconds": 1}, "timed out"),
    ],
    ids=["http", "tcp", "exec", "exec that hangs"],
)
async def test_a_container_that_fails_its_liveness_probe_is_restarted(
    scene: Scene, action: dict[str, Any], message: str
) -> None:
    probe = {**action, **EACH_SECOND, "failureThreshold": 2, "initialDelaySeconds": 1}
    await scene.create(PODS, build_pod("sick", build_web(livenessProbe=probe)))

    pod = await scene.wait_for_pod("sick", has_restarted)

    last = pod.status.container_statuses[0].last_state.terminated
    assert last is not None
    assert (last.reason, last.exit_code) == ("Error", 143)
    await scene.wait_for_event("sick", "Unhealthy", "Liveness probe failed: ")
    await scene.wait_for_event("sick", "Unhealthy", message)
    await scene.wait_for_event("sick", "Killing", "Container web failed liveness probe, will be restarted")


async def test_other_probes_wait_for_the_startup_probe(scene: Scene) -> None:
    """The liveness probe would restart it at once."""
    await scene.create(
        PODS,
        build_pod(
            "slow",
            build_shell(
                startupProbe={**FILE, "failureThreshold": 60},
                livenessProbe=FILE,
                readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
            ),
        ),
    )
    await scene.wait_for_event("slow", "Unhealthy", "Startup probe failed")
    starting = await scene.client.get(PODS, "slow", scene.namespace)
    assert not starting.status.container_statuses[0].started
    assert not is_ready(starting)

    await scene.run_in_pod("slow", "touch", "/tmp/fine")
    started = await scene.wait_for_pod("slow", is_ready)

    assert started.status.container_statuses[0].started
    assert started.status.container_statuses[0].restart_count == 0
