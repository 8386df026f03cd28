"""What the control plane writes over the agent's reports of a silent node goes once the agent sees it.

The writes are those of the node lifecycle controller, made by the test: a real silence takes it 40 seconds.
"""

from __future__ import annotations

import asyncio

from kubeapi.client import PatchType
from kubeapi.core import Node
from kubeapi.meta import Condition
from kubeapi.pod import Pod
from kubeapi.resources import NODES, PODS, Resource, ViewT
from lab.cluster import Cluster
from tests.cluster.restarts.conftest import NODE
from tests.cluster.scene import Scene, build_pod, build_web, new_scene

WITHIN_SECONDS = 10.0


async def test_node_and_pods_are_ready_again_at_once(cluster: Cluster) -> None:
    async with new_scene(cluster, "over") as scene:
        pod = await scene.start_pod(build_pod("web", build_web()))
        for _ in range(2):
            silent_node, silent_pod = await asyncio.gather(
                write_over(scene, NODES, NODE, "Unknown", "NodeStatusUnknown"),
                write_over(scene, PODS, "web", "False", "NodeNotReady"),
            )
            assert find_ready(silent_node).status == "Unknown"
            assert find_ready(silent_pod).status == "False"

            node = await scene.wait_for(NODES, NODE, is_true, WITHIN_SECONDS)
            again = await scene.wait_for_pod("web", is_true, WITHIN_SECONDS)

            assert find_ready(node).reason == "KubeletReady"
            assert find_ready(again).reason == ""
            assert again.status.container_statuses == pod.status.container_statuses


async def write_over(scene: Scene, resource: Resource[ViewT], name: str, status: str, reason: str) -> ViewT:
    namespace = scene.namespace if resource.namespaced else ""
    patch = {"status": {"conditions": [{"type": "Ready", "status": status, "reason": reason}]}}
    return await scene.client.patch(
        resource, patch, name, namespace, patch_type=PatchType.STRATEGIC, subresource="status"
    )


def find_ready(obj: Node | Pod) -> Condition:
    return next(each for each in obj.status.conditions if each.type == "Ready")


def is_true(obj: Node | Pod) -> bool:
    return find_ready(obj).status == "True"
