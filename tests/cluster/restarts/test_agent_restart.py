"""The agent dies by SIGKILL and starts again: nobody who uses the pods notices."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable

from kubeapi.client import PatchType
from kubeapi.resources import CONFIG_MAPS, PODS, SERVICES
from lab.cluster import Cluster
from tests.cluster.restarts.conftest import NODE, Stage
from tests.cluster.scene import (
    Document,
    Scene,
    build_pod,
    build_service,
    build_shell,
    is_absent,
    is_ready,
    is_waiting,
)
from tests.cluster.traffic import ask_http

STALE_IP, FRESH_IP = "10.96.7.1", "10.96.7.2"
DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"
COUNTS_PROBES = {"exec": {"command": ["sh", "-c", "echo >> /tmp/probes"]}, "periodSeconds": 1}
WAIT_FOR_PROBES = """
seen() { wc -l < /tmp/probes; }
before=$(seen); until [ "$(seen)" -ge $((before + 3)) ]; do sleep 0.1; done
"""


async def kill_agent(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kill_node, NODE)


async def start_agent(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.restart_node, NODE)


async def test_pods_and_services_go_on_as_if_nothing_happened(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    await scene.start_pod(build_pod("counting", build_shell(readinessProbe=COUNTS_PROBES)))

    for _ in range(2):
        await kill_agent(cluster)
        await stage.wait_for_requests(20)
        await start_agent(cluster)
        await scene.run_in_pod("counting", "sh", "-c", WAIT_FOR_PROBES)
        await stage.wait_for_requests(20)

    stage.assert_steady()


async def test_what_happened_meanwhile_is_caught_up(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    await scene.start_pod(build_pod("doomed"))
    await scene.create(SERVICES, build_web_service("stale", STALE_IP))
    await wait_for_answer(cluster, STALE_IP, bool)
    await kill_agent(cluster)

    await scene.delete_pod("doomed")
    await scene.create(PODS, build_pod("newcomer", node=NODE))
    await scene.create(SERVICES, build_web_service("fresh", FRESH_IP))
    await scene.client.delete(SERVICES, "stale", scene.namespace)
    assert not await is_absent(scene, "doomed"), "nobody can know yet that its containers are gone"
    await start_agent(cluster)

    await scene.wait_until_gone(PODS, "doomed")
    await scene.wait_for_pod("newcomer", is_ready)
    await wait_for_answer(cluster, FRESH_IP, bool)
    await wait_for_answer(cluster, STALE_IP, operator.not_)
    stage.assert_steady()


def build_web_service(name: str, cluster_ip: str) -> Document:
    return build_service(name, {"app": "web"}, {"port": 80, "targetPort": "http"}, clusterIP=cluster_ip)


async def wait_for_answer(cluster: Cluster, address: str, is_wanted: Callable[[str], bool]) -> None:
    """Until what the address answers, empty when it refuses, is as wanted."""
    deadline = time.monotonic() + 5
    while not is_wanted(answer := await asyncio.to_thread(read_answer, cluster, address)):
        assert time.monotonic() < deadline, f"{address} still answers {answer!r}"
        await asyncio.sleep(0.05)


def read_answer(cluster: Cluster, address: str) -> str:
    try:
        return ask_http(cluster.node(NODE).netns, f"http://{address}/")
    except OSError:
        return ""


async def test_a_deletion_in_progress_is_finished_in_its_own_time(cluster: Cluster, stage: Stage) -> None:
    """The grace period counts from the deletion, not from the restart."""
    scene = stage.scene
    await scene.start_pod(build_pod("leaving", build_shell(DEAF), grace_seconds=4))
    started = time.monotonic()
    await scene.delete_pod("leaving")
    await scene.wait_for_event("leaving", "Killing")

    await kill_agent(cluster)
    await start_agent(cluster)
    await scene.wait_until_gone(PODS, "leaving")

    assert 4 <= time.monotonic() - started < 7
    stage.assert_steady()


async def test_a_crash_loop_goes_on_where_it_was(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    await scene.create(PODS, build_pod("crash", build_shell("exit 3")))

    before = await scene.wait_for_pod("crash", is_waiting("CrashLoopBackOff"))
    await kill_agent(cluster)
    await start_agent(cluster)
    await scene.start_pod(build_pod("later"))

    after = await scene.client.get(PODS, "crash", scene.namespace)
    assert after.status.container_statuses == before.status.container_statuses


async def test_files_in_pods_follow_their_objects_again(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"color": "red"}})
    await scene.start_pod(
        build_pod(
            "reader",
            build_shell(volumeMounts=[{"name": "settings", "mountPath": "/settings"}]),
            volumes=[{"name": "settings", "configMap": {"name": "settings"}}],
        )
    )
    await kill_agent(cluster)
    await replace_color(scene, "blue")
    await start_agent(cluster)
    await scene.run_in_pod("reader", "sh", "-c", "until grep blue /settings/color; do sleep 0.05; done")
    await replace_color(scene, "green")
    await scene.run_in_pod("reader", "sh", "-c", "until grep green /settings/color; do sleep 0.05; done")
    stage.assert_steady()


async def replace_color(scene: Scene, color: str) -> None:
    await scene.client.patch(
        CONFIG_MAPS, {"data": {"color": color}}, "settings", scene.namespace, patch_type=PatchType.MERGE
    )
