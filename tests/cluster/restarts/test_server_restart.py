"""The server dies by SIGKILL and starts again: what it acknowledged is there, and everybody finds it."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime

from kubeapi.client import PatchType
from kubeapi.errors import KubeAPIError
from kubeapi.resources import CONFIG_MAPS, DEPLOYMENTS, LEASES, NODES, PODS
from lab.agents import read_agent
from lab.cluster import Cluster
from tests.cluster.restarts.conftest import NODE, Stage
from tests.cluster.scene import Scene, build_pod, build_web, is_ready

WRITERS = 4
ENOUGH = 100


class Ledger:
    """What the server has acknowledged: the resource version of every object's last write."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.has_enough = asyncio.Event()

    def note(self, name: str, version: str) -> None:
        self.versions[name] = version
        if len(self.versions) >= ENOUGH:
            self.has_enough.set()


async def write_until_dead(scene: Scene, ledger: Ledger, writer: int) -> None:
    """Creates, changes and deletes; an object whose last call got no answer leaves the ledger."""
    number, name = 0, ""
    try:
        while True:
            name = f"w{writer}-{number}"
            made = await scene.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"round": "1"}})
            ledger.note(name, made.metadata.resource_version)
            if number % 3 == 1:
                changed = await scene.client.patch(
                    CONFIG_MAPS, {"data": {"round": "2"}}, name, scene.namespace, patch_type=PatchType.MERGE
                )
                ledger.note(name, changed.metadata.resource_version)
            if number % 3 == 2:
                await scene.client.delete(CONFIG_MAPS, name, scene.namespace)
                del ledger.versions[name]
                ledger.deleted.add(name)
            number += 1
    except KubeAPIError:
        ledger.versions.pop(name, None)


async def restart_server(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.restart_server)


async def test_nothing_that_was_acknowledged_is_lost(cluster: Cluster, stage: Stage) -> None:
    scene, ledger = stage.scene, Ledger()
    async with asyncio.timeout(60), asyncio.TaskGroup() as writing:
        for writer in range(WRITERS):
            writing.create_task(write_until_dead(scene, ledger, writer))
        await ledger.has_enough.wait()
        await asyncio.to_thread(cluster.kill_server)
    await stage.wait_for_requests(20)
    await restart_server(cluster)

    listed = await scene.client.list(CONFIG_MAPS, scene.namespace)
    found = {each.metadata.name: each.metadata.resource_version for each in listed.items}
    assert {name: found.get(name) for name in ledger.versions} == ledger.versions
    assert not found.keys() & ledger.deleted
    fresh = await scene.create(CONFIG_MAPS, {"metadata": {"name": "fresh"}})
    assert int(fresh.metadata.resource_version) > max(map(int, found.values()))
    stage.assert_steady()


async def test_agents_and_controllers_find_the_server_again(cluster: Cluster, stage: Stage) -> None:
    scene = stage.scene
    agent = read_agent(cluster.node(NODE))
    leases = Scene(cluster, scene.client, "kube-node-lease", scene.kubectl)
    await scene.create(DEPLOYMENTS, build_deployment("grown", replicas=1))
    await scene.wait_for(DEPLOYMENTS, "grown", lambda grown: grown.status.ready_replicas == 1)
    await asyncio.to_thread(cluster.kill_server)
    await stage.wait_for_requests(20)
    await restart_server(cluster)
    restarted_at = datetime.now().astimezone()

    await scene.client.patch(
        DEPLOYMENTS, {"spec": {"replicas": 2}}, "grown", scene.namespace, patch_type=PatchType.MERGE
    )
    await scene.wait_for(DEPLOYMENTS, "grown", lambda grown: grown.status.ready_replicas == 2)
    await scene.start_pod(build_pod("newcomer"))
    await leases.wait_for(
        LEASES, NODE, lambda lease: datetime.fromisoformat(lease.spec.renew_time or "") > restarted_at
    )

    node = await scene.client.get(NODES, NODE)
    assert {each.type: each.status for each in node.status.conditions}["Ready"] == "True"
    assert read_agent(cluster.node(NODE)) == agent, "it never stopped"
    stage.assert_steady()


async def test_a_watch_goes_on_where_it_was(cluster: Cluster, stage: Stage) -> None:
    """The new process knows the changes since a version of the old one's, and nothing comes twice."""
    scene = stage.scene
    first = await scene.create(CONFIG_MAPS, {"metadata": {"name": "one"}})
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "two"}})
    await restart_server(cluster)
    await scene.create(CONFIG_MAPS, {"metadata": {"name": "three"}})

    seen: list[str] = []
    async with asyncio.timeout(10):
        async for event in scene.client.watch(
            CONFIG_MAPS, scene.namespace, resource_version=first.metadata.resource_version, timeout_seconds=1
        ):
            seen.append(event.object.metadata.name)

    assert [name for name in seen if name] == ["two", "three"]


async def test_pods_that_end_while_the_server_is_dead_are_told_afterwards(
    cluster: Cluster, stage: Stage
) -> None:
    scene = stage.scene
    await scene.start_pod(build_pod("brief", restartPolicy="Never"))
    netns = await scene.find_netns(await scene.client.get(PODS, "brief", scene.namespace))
    await asyncio.to_thread(cluster.kill_server)

    os.kill(int(netns.parts[2]), signal.SIGKILL)
    await restart_server(cluster)

    ended = await scene.wait_for_pod("brief", lambda pod: pod.status.phase == "Failed")
    terminated = ended.status.container_statuses[0].state.terminated
    assert terminated is not None
    assert terminated.exit_code == 137
    assert not is_ready(ended)
    stage.assert_steady()


def build_deployment(name: str, replicas: int) -> dict[str, object]:
    labels = {"app": name}
    template = build_pod(name, build_web(), labels=labels)
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }
