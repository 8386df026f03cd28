"""What a persistentVolumeClaim of a pod is bound to, and whether this node may use it.

Pure: the claim, the volume and the node arrive as arguments. Called by `source`. Of persistent volumes this
agent mounts `local` and `hostPath`. Follows the "Persistent Volumes" page and the kubelet's messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.pods.admission import matches_node_selector
from agent.volumes.files import VolumeRefused
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim
from kubeapi.volume import HostPathVolumeSource


@dataclass(frozen=True, slots=True)
class LocalVolume:
    """A directory of this node that a `local` persistent volume names."""

    path: Path
    mount_options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostPathVolume:
    """A `hostPath` persistent volume: one node's path, unmanaged, as a hostPath volume is."""

    source: HostPathVolumeSource


BoundSource = LocalVolume | HostPathVolume


def choose_volume_name(key: ObjectKey, claim: PersistentVolumeClaim | None) -> str | VolumeRefused:
    """The volume that the claim is bound to, by name."""
    if claim is None:
        return _refuse(
            key, f'failed to fetch PVC from API server: persistentvolumeclaims "{key.name}" not found'
        )
    if claim.metadata.deletion_timestamp is not None:
        return _refuse(key, "PVC is being deleted")
    if claim.status.phase != "Bound" or not claim.spec.volume_name:
        return _refuse(key, "PVC is not bound")
    if claim.spec.volume_mode == "Block":
        return _refuse(
            key, "volumeMode Block isn't supported by this agent; use a claim of volumeMode Filesystem"
        )
    return claim.spec.volume_name


def choose_bound_source(
    claim: PersistentVolumeClaim, volume: PersistentVolume | None, node: Node | None
) -> BoundSource | VolumeRefused:
    """What the bound volume is on this node; `node` None: the node's labels aren't known yet."""
    name = claim.spec.volume_name
    if volume is None:
        return _refuse(
            claim.key, f'failed to fetch PV {name} from API server: persistentvolumes "{name}" not found'
        )
    reference = volume.spec.claim_ref
    if reference is None or reference.uid != claim.metadata.uid:
        return _refuse(
            claim.key, f"PV {name} isn't bound to this claim: its claimRef holds another uid; see who took it"
        )
    if volume.spec.volume_mode == "Block":
        return _refuse(claim.key, f"volume {name} has volumeMode Block, but is specified in volumeMounts")
    affinity = volume.spec.node_affinity
    if affinity is not None and affinity.required is not None:
        if node is None:
            return VolumeRefused(f'the node affinity of volume "{name}" waits for the labels of this node')
        if not matches_node_selector(affinity.required, node):
            return VolumeRefused(
                f'MountVolume.NodeAffinity check failed for volume "{name}" : no matching NodeSelectorTerms'
            )
    return _choose_source(claim.key, volume)


def _choose_source(key: ObjectKey, volume: PersistentVolume) -> BoundSource | VolumeRefused:
    if volume.spec.local is not None:
        return LocalVolume(Path(volume.spec.local.path), volume.spec.mount_options)
    if volume.spec.host_path is not None:
        return HostPathVolume(volume.spec.host_path)
    return _refuse(
        key, f"the kind of PV {volume.metadata.name} isn't supported by this agent; use local or hostPath"
    )


def _refuse(key: ObjectKey, why: str) -> VolumeRefused:
    return VolumeRefused(f"error processing PVC {key}: {why}")
