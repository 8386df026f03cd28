"""A pod that is gone has left nothing on its node: no mount, cgroup, file, address, container, link, rule."""

from __future__ import annotations

import asyncio
import time

from kubeapi.resources import CONFIG_MAPS, PODS, SECRETS
from lab.cluster import Cluster
from lab.node_traces import find_new_traces, read_node_traces
from tests.cluster.scene import Scene, build_pod, build_shell, build_web

GONE_SECONDS = 5.0


async def test_a_pod_leaves_nothing_behind(cluster: Cluster, scene: Scene) -> None:
    node = cluster.node("n1")
    await scene.start_pod(build_pod("earlier"))
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"a": "b"}})
    await scene.create(SECRETS, {"metadata": {"name": "keys"}, "stringData": {"a": "b"}})
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in ("disk", "memory", "settings", "keys")]
    before = await asyncio.to_thread(read_node_traces, node)

    await scene.start_pod(
        build_pod(
            "full",
            build_web(ports=[{"name": "http", "containerPort": 8080, "hostPort": 8098}], volumeMounts=mounts),
            build_shell("trap '' TERM; while :; do sleep 1; done"),
            build_shell(
                "[ -e /disk/once ] || { touch /disk/once; exit 1; }; sleep 86400",
                "restarted",
                volumeMounts=mounts,
            ),
            initContainers=[build_shell("exit 0", name="init")],
            volumes=[
                {"name": "disk", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory"}},
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "secret": {"secretName": "keys"}},
            ],
        )
    )
    during = find_new_traces(before, await asyncio.to_thread(read_node_traces, node))
    assert during.keys() == before.keys(), "the test sees what a pod makes"
    await scene.delete_pod("full")
    await scene.wait_until_gone(PODS, "full")

    deadline = time.monotonic() + GONE_SECONDS
    while left := find_new_traces(before, await asyncio.to_thread(read_node_traces, node)):
        assert time.monotonic() < deadline, left
