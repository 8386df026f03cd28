"""A claim, from its creation to files on the node's disk, through the whole cluster."""

from __future__ import annotations

from pathlib import Path

from kubeapi.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from tests.cluster.scene import Document, Scene, build_pod, build_shell


def _volume(scene: Scene, path: Path) -> Document:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [scene.cluster.nodes[0].name]}
    return {
        "metadata": {"name": scene.namespace},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": scene.namespace,
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _claim(scene: Scene) -> Document:
    return {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": scene.namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


async def test_a_pod_waits_for_its_claim_and_writes_to_the_volume(scene: Scene, tmp_path: Path) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    pod = build_pod(
        "writer",
        build_shell(volumeMounts=mounts),
        node=scene.cluster.nodes[0].name,
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    await scene.create(PODS, pod)
    await scene.wait_for_event("writer", "FailedMount", "error processing PVC")

    await scene.client.create(PERSISTENT_VOLUMES, _volume(scene, tmp_path))
    try:
        await scene.create(PERSISTENT_VOLUME_CLAIMS, _claim(scene))
        await scene.wait_for(PERSISTENT_VOLUME_CLAIMS, "data", lambda claim: claim.status.phase == "Bound")
        await scene.wait_for_pod("writer", lambda pod: pod.status.phase == "Running", seconds=60)
        await scene.run_in_pod("writer", "sh", "-c", "echo kept > /data/file")
        assert (tmp_path / "file").read_text() == "kept\n"

        await scene.delete_pod("writer")
        await scene.wait_until_gone(PODS, "writer")
        assert (tmp_path / "file").read_text() == "kept\n"
    finally:
        await scene.client.delete(PERSISTENT_VOLUMES, scene.namespace)
