"""The agent starts and works while the API server is away, or up but silent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.checkpoint.records import PodRecord
from kubeapi.resources import PODS
from lab.cluster import Cluster
from lab.control_plane import ControlPlane
from tests.cluster.node_memory import read_records, wait_for_records
from tests.cluster.restarts.conftest import NODE, Stage
from tests.cluster.scene import Scene, build_pod, build_shell, is_ready

DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def manifests(cluster: Cluster) -> Iterator[Path]:
    """The directory, emptied afterwards."""
    directory = cluster.node(NODE).paths.static_pod_directory
    yield directory
    for path in directory.iterdir():
        path.unlink()


def write_manifest(scene: Scene, directory: Path, name: str, **labels: str) -> Path:
    document = build_pod(name, labels=labels)
    metadata = {**document["metadata"], "namespace": scene.namespace}
    draft, path = directory / f"{name}.draft", directory / f"{name}.json"
    draft.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **document, "metadata": metadata}))
    os.replace(draft, path)
    return path


async def wait_for_static_pod(cluster: Cluster, name: str, **labels: str) -> PodRecord:
    def runs(found: Mapping[str, PodRecord]) -> bool:
        record = found.get(f"{name}-{NODE}")
        return record is not None and record.pod.metadata.labels == labels and is_ready(record.pod)

    return (await wait_for_records(cluster.node(NODE), runs))[f"{name}-{NODE}"]


async def restart_agent(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.restart_node, NODE)


async def test_static_pods_come_stay_change_and_go_while_the_server_is_away(
    cluster: Cluster, stage: Stage, manifests: Path
) -> None:
    scene = stage.scene
    write_manifest(scene, manifests, "old")
    old = await wait_for_static_pod(cluster, "old")
    await scene.wait_for_pod(f"old-{NODE}", is_ready)
    try:
        await asyncio.to_thread(cluster.kill_server)
        await restart_agent(cluster)
        write_manifest(scene, manifests, "new")
        new = await wait_for_static_pod(cluster, "new")
        await restart_agent(cluster)
        write_manifest(scene, manifests, "later")
        await wait_for_static_pod(cluster, "later")
        assert read_records(cluster.node(NODE))[f"old-{NODE}"].pod == old.pod
        assert read_records(cluster.node(NODE))[f"new-{NODE}"].pod == new.pod

        write_manifest(scene, manifests, "new", version="2")
        changed = await wait_for_static_pod(cluster, "new", version="2")
        (manifests / "later.json").unlink()
        await wait_for_records(cluster.node(NODE), lambda found: f"later-{NODE}" not in found)
        await stage.wait_for_requests(20)
    finally:
        await asyncio.to_thread(cluster.restart_server)

    mirror = await scene.wait_for_pod(f"new-{NODE}", is_ready)
    assert mirror.metadata.labels == {"version": "2"}
    assert mirror.status.container_statuses == changed.pod.status.container_statuses
    kept = await scene.wait_for_pod(f"old-{NODE}", is_ready)
    assert kept.status.container_statuses == old.pod.status.container_statuses
    stage.assert_steady()


@contextmanager
def frozen(control_plane: ControlPlane) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    process = control_plane.process()
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def test_an_agent_starts_beside_a_server_that_answers_nothing(
    cluster: Cluster, stage: Stage, manifests: Path
) -> None:
    scene = stage.scene
    with frozen(cluster.control_plane):
        await restart_agent(cluster)
        write_manifest(scene, manifests, "hermit")
        await wait_for_static_pod(cluster, "hermit")
        await stage.wait_for_requests(20)

    await scene.wait_for_pod(f"hermit-{NODE}", is_ready)
    await scene.create(PODS, build_pod("newcomer", node=NODE))
    await scene.wait_for_pod("newcomer", is_ready)
    stage.assert_steady()


async def test_a_deletion_goes_on_while_the_server_is_away(cluster: Cluster, stage: Stage) -> None:
    """Down to the last file on the node; only the object waits for the server."""
    scene, node = stage.scene, cluster.node(NODE)
    pod = await scene.start_pod(build_pod("leaving", build_shell(DEAF), grace_seconds=4))
    files = node.paths.agent_root / "pods" / pod.metadata.uid
    assert files.exists()
    await scene.delete_pod("leaving")
    await scene.wait_for_event("leaving", "Killing")
    try:
        await asyncio.to_thread(cluster.kill_server)
        await restart_agent(cluster)
        await wait_for_records(node, lambda _: not files.exists())
        assert "leaving" in read_records(node), "nobody has taken note of its end"
    finally:
        await asyncio.to_thread(cluster.restart_server)
    await scene.wait_until_gone(PODS, "leaving")
    await wait_for_records(node, lambda found: "leaving" not in found)
    stage.assert_steady()
