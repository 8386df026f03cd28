"""A node is started anew while the API server is away: what was assigned to it runs again from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agent.checkpoint.records import PodRecord
from kubeapi.pod import Pod
from kubeapi.resources import CONFIG_MAPS, PODS, SECRETS
from lab.cluster import Cluster, NodePart
from tests.cluster.node_memory import forget_what_lived_in_memory, wait_for_records
from tests.cluster.restarts.conftest import NODE
from tests.cluster.scene import Scene, build_pod, build_shell, build_web, is_in_phase, is_ready, new_scene
from tests.cluster.traffic import ask_http

KEEPS = [{"name": "kept", "mountPath": "/kept"}, {"name": "settings", "mountPath": "/settings"}]
COLOR = {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}
KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}


async def start_pods(scene: Scene) -> None:
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"color": "red"}})
    await scene.create(SECRETS, {"metadata": {"name": "keys"}, "stringData": {"key": "sesame"}})
    keeper = build_shell("echo up $COLOR >> /kept/log; exec sleep 86400", env=[COLOR], volumeMounts=KEEPS)
    volumes = [{"name": "kept", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "settings"}}]
    await asyncio.gather(
        scene.start_pod(build_pod("plain")),
        scene.start_pod(build_pod("web", build_web())),
        scene.start_pod(build_pod("keeper", keeper, volumes=volumes)),
        scene.start_pod(build_pod("locked", build_shell(env=[KEY]))),
    )
    await scene.create(PODS, build_pod("once", build_shell("exit 0"), restartPolicy="Never"))
    await scene.wait_for_pod("once", is_in_phase("Succeeded"))


async def test_pods_come_back_without_the_api_server_and_it_finds_them_running(cluster: Cluster) -> None:
    node = cluster.node(NODE)
    async with new_scene(cluster, "offline") as scene:
        await start_pods(scene)
        before = {pod.metadata.name: pod for pod in (await scene.client.list(PODS, scene.namespace)).items}
        await wait_for_records(
            node, lambda found: all(is_ready(found[name].pod) for name in ("web", "locked"))
        )
        try:
            await asyncio.to_thread(cluster.kill_server)
            await asyncio.to_thread(cluster.kill_node, NODE, NodePart.NODE)
            forget_what_lived_in_memory(node)
            await asyncio.to_thread(cluster.restart_node, NODE, NodePart.NODE)

            def is_up(found: Mapping[str, PodRecord]) -> bool:
                return all(_has_come_back(found[name].pod) for name in ("plain", "web", "keeper"))

            offline = await wait_for_records(node, is_up)
            address = offline["web"].pod.status.pod_ip
            assert await asyncio.to_thread(ask_http, node.netns, f"http://{address}:8080/") == "web"
            (waiting,) = offline["locked"].pod.status.container_statuses
            assert waiting.state.running is None
            assert waiting.state.waiting is not None
        finally:
            await asyncio.to_thread(cluster.restart_server)

        online = {name: await scene.wait_for_pod(name, _has_come_back) for name in ("plain", "web", "keeper")}
        await scene.wait_for_pod("locked", _has_come_back)
        for name, pod in online.items():
            assert pod.metadata.uid == before[name].metadata.uid
            assert pod.status.container_statuses == offline[name].pod.status.container_statuses
            assert pod.status.start_time == before[name].status.start_time
        assert (
            await scene.run_in_pod("keeper", "cat", "/kept/log", "/settings/color") == "up red\nup red\nred"
        )
        once = await scene.client.get(PODS, "once", scene.namespace)
        assert once.status.phase == "Succeeded"
        assert once.status.container_statuses == before["once"].status.container_statuses


def _has_come_back(pod: Pod) -> bool:
    return is_ready(pod) and pod.status.container_statuses[0].restart_count == 1
