"""All of a node dies at once, containers too: what was assigned to it runs again when it is back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.cluster import Cluster, NodePart
from tests.cluster.restarts.conftest import NODE, WEB_PODS, Stage
from tests.cluster.scene import build_pod, build_shell, is_in_phase, is_ready
from tests.cluster.traffic import ask_http

KEEPS = [{"name": "kept", "mountPath": "/kept"}]


def list_reserved_addresses(cluster: Cluster) -> set[str]:
    directory: Path = cluster.node(NODE).paths.cni_state_directory
    return {path.name for path in directory.glob("*/10.*")}


async def test_pods_come_back_with_their_files_and_services_answer(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    once = build_pod("once", build_shell("exit 0"), restartPolicy="Never")
    await scene.create(PODS, once)
    await scene.wait_for_pod("once", is_in_phase("Succeeded"))
    keeper = build_shell("echo up >> /kept/log; exec sleep 86400", volumeMounts=KEEPS)
    await scene.start_pod(build_pod("keeper", keeper, volumes=[{"name": "kept", "emptyDir": {}}]))
    await scene.start_pod(build_pod("doomed"))
    (service,) = {stream.name.split()[0] for stream in stage.streams if "10.96." in stream.name}

    await asyncio.to_thread(cluster.kill_node, NODE, NodePart.NODE)
    await scene.delete_pod("doomed")
    await asyncio.to_thread(cluster.restart_node, NODE, NodePart.NODE)

    def is_back(pod: Pod) -> bool:
        return is_ready(pod) and pod.status.container_statuses[0].restart_count == 1

    names = (*WEB_PODS, "probed", "plain", "keeper")
    pods = await asyncio.gather(*(scene.wait_for_pod(name, is_back) for name in names))
    await scene.wait_until_gone(PODS, "doomed")
    assert await scene.run_in_pod("keeper", "cat", "/kept/log") == "up\nup\n"
    ended = await scene.client.get(PODS, "once", scene.namespace)
    assert ended.status.phase == "Succeeded"
    await scene.wait_for_endpoints("web", len(WEB_PODS))
    answers = {ask_http(cluster.node(NODE).netns, service) for _ in range(32)}
    assert answers == set(WEB_PODS)
    addresses = {pod.status.pod_ip for pod in pods}
    assert len(addresses) == len(pods)
    deadline = time.monotonic() + 5
    while (reserved := list_reserved_addresses(cluster)) != addresses:
        assert time.monotonic() < deadline, f"{reserved} are reserved, {addresses} are used"
        await asyncio.sleep(0.05)
