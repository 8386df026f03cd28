"""The runtime dies by SIGKILL and starts again: containers run on, and the agent finds it by itself."""

from __future__ import annotations

import asyncio
import os
import signal

from kubeapi.resources import PODS
from lab.agents import read_agent
from lab.cluster import Cluster, NodePart
from tests.cluster.restarts.conftest import NODE, Stage
from tests.cluster.scene import build_pod, build_shell, is_ready


async def kill_containerd(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kill_node, NODE, NodePart.CONTAINERD)


async def start_containerd(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.restart_node, NODE, NodePart.CONTAINERD)


async def test_containers_run_on_and_new_ones_start(cluster: Cluster, stage: Stage) -> None:
    scene, agent = stage.scene, read_agent(cluster.node(NODE))
    await scene.start_pod(build_pod("doomed"))
    await kill_containerd(cluster)

    await scene.create(PODS, build_pod("newcomer"))
    await scene.delete_pod("doomed")
    await stage.wait_for_requests(100)
    await start_containerd(cluster)

    await scene.wait_for_pod("newcomer", is_ready)
    await scene.wait_until_gone(PODS, "doomed")
    assert await scene.run_in_pod("plain", "echo", "hello") == "hello\n"
    assert read_agent(cluster.node(NODE)) == agent, "it never stopped"
    stage.assert_steady()


async def test_a_container_that_ended_meanwhile_is_started_again(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    pod = await scene.start_pod(build_pod("killed", build_shell()))
    pid = (await scene.find_netns(pod)).parts[2]
    await kill_containerd(cluster)

    os.kill(int(pid), signal.SIGKILL)
    await start_containerd(cluster)

    again = await scene.wait_for_pod(
        "killed", lambda now: now.status.container_statuses[0].restart_count == 1 and is_ready(now)
    )
    assert again.status.pod_ip == pod.status.pod_ip, "in the same sandbox"
    stage.assert_steady()


async def test_agent_and_runtime_dead_at_once(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    await asyncio.to_thread(cluster.kill_node, NODE)
    await kill_containerd(cluster)
    await stage.wait_for_requests(20)

    await asyncio.to_thread(cluster.restart_node, NODE)
    await scene.start_pod(build_pod("newcomer"))

    stage.assert_steady()
