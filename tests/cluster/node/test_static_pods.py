"""Manifests in the node's directory become pods, with mirrors in the API that only tell of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeapi.resources import PODS
from lab.cluster import Cluster
from tests.cluster.scene import Document, Scene, build_pod, build_shell, is_ready

NODE = "n1"
MIRROR = f"static-{NODE}"


@pytest.fixture
def manifests(cluster: Cluster) -> Iterator[Path]:
    """The directory, emptied afterwards."""
    directory = cluster.node(NODE).paths.static_pod_directory
    yield directory
    for path in directory.iterdir():
        path.unlink()


def write_manifest(scene: Scene, directory: Path, document: Document, name: str = "static.json") -> Path:
    """In one step, as a file of another kind until it is whole."""
    metadata = {**document["metadata"], "namespace": scene.namespace}
    path = directory / name
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **document, "metadata": metadata}))
    os.replace(partial, path)
    return path


async def test_a_manifest_runs_while_its_file_is_there(scene: Scene, manifests: Path) -> None:
    path = write_manifest(scene, manifests, build_pod("static"))

    mirror = await scene.wait_for_pod(MIRROR, is_ready)
    assert mirror.spec.node_name == NODE
    assert mirror.metadata.annotations["kubernetes.io/config.source"] == "file"
    assert [owner.kind for owner in mirror.metadata.owner_references] == ["Node"]
    assert await scene.run_in_pod(MIRROR, "echo", "hello") == "hello\n"
    path.unlink()

    await scene.wait_until_gone(PODS, MIRROR)


async def test_a_deleted_mirror_comes_back_and_its_pod_never_stops(scene: Scene, manifests: Path) -> None:
    write_manifest(scene, manifests, build_pod("static"))
    before = await scene.wait_for_pod(MIRROR, is_ready)

    await scene.delete_pod(MIRROR)
    after = await scene.wait_for_pod(
        MIRROR, lambda pod: pod.metadata.uid != before.metadata.uid and is_ready(pod)
    )

    assert after.status.container_statuses == before.status.container_statuses


async def test_a_changed_manifest_is_another_pod(scene: Scene, manifests: Path) -> None:
    write_manifest(scene, manifests, build_pod("static"))
    before = await scene.wait_for_pod(MIRROR, is_ready)

    write_manifest(scene, manifests, build_pod("static", labels={"version": "2"}))
    after = await scene.wait_for_pod(
        MIRROR, lambda pod: pod.metadata.labels.get("version") == "2" and is_ready(pod)
    )

    assert after.status.container_statuses[0].container_id != before.status.container_statuses[0].container_id


async def test_a_broken_manifest_stops_nothing(scene: Scene, manifests: Path) -> None:
    """Nor does one that breaks while its pod runs: that pod goes on."""
    good = write_manifest(scene, manifests, build_pod("static"))
    before = await scene.wait_for_pod(MIRROR, is_ready)

    (manifests / "torn.yaml").write_text("apiVersion: v1\nkind: {{{")
    (manifests / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (manifests / "service.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n")
    (manifests / "nameless.yaml").write_text("apiVersion: v1\nkind: Pod\nspec: {containers: []}\n")
    (manifests / "notes.txt").write_text("not a manifest at all")
    good.write_text("{ half a")
    write_manifest(scene, manifests, build_pod("later", build_shell()), "zz-later.json")
    await scene.wait_for_pod(f"later-{NODE}", is_ready)

    after = await scene.client.get(PODS, MIRROR, scene.namespace)
    assert (after.metadata.uid, after.status) == (before.metadata.uid, before.status)
