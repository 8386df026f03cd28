"""What a claim leads to: one changed fact at a time, in the kubelet's words where it has some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.volumes.claims import HostPathVolume, LocalVolume, choose_bound_source, choose_volume_name
from agent.volumes.files import VolumeRefused
from agent.volumes.mount_flags import MS_NOEXEC, MS_RDONLY
from agent.volumes.mount_options import compute_mount_flags
from kubeapi.core import Node, ObjectReference
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.pod import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubeapi.storage import (
    LocalVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from kubeapi.volume import HostPathVolumeSource

KEY = ObjectKey("default", "data")
NODE = Node(metadata=ObjectMeta(name="node-1", labels={"zone": "a"}))
CLAIM = PersistentVolumeClaim(
    metadata=ObjectMeta(name="data", namespace="default", uid="u1"),
    spec=PersistentVolumeClaimSpec(volume_name="pv-1"),
    status=PersistentVolumeClaimStatus(phase="Bound"),
)


def _volume(zone: str = "a", **spec: Any) -> PersistentVolume:
    here = NodeSelectorRequirement(key="zone", operator="In", values=(zone,))
    terms = (NodeSelectorTerm(match_expressions=(here,)),)
    good: dict[str, Any] = {
        "claim_ref": ObjectReference(name="data", namespace="default", uid="u1"),
        "node_affinity": VolumeNodeAffinity(required=NodeSelector(node_selector_terms=terms)),
        "local": LocalVolumeSource(path="/mnt/disk"),
    }
    return PersistentVolume(metadata=ObjectMeta(name="pv-1"), spec=PersistentVolumeSpec(**{**good, **spec}))


def _why(found: object) -> str:
    assert isinstance(found, VolumeRefused)
    return found.message


def test_a_bound_claim_leads_to_its_volume() -> None:
    assert choose_volume_name(KEY, CLAIM) == "pv-1"
    assert choose_bound_source(CLAIM, _volume(), NODE) == LocalVolume(Path("/mnt/disk"), ())
    source = HostPathVolumeSource(path="/data", type="Directory")
    found = choose_bound_source(CLAIM, _volume(local=None, host_path=source), NODE)
    assert found == HostPathVolume(source)


def test_a_claim_that_is_not_ready_is_waited_for() -> None:
    assert 'persistentvolumeclaims "data" not found' in _why(choose_volume_name(KEY, None))
    pending = msgspec.structs.replace(CLAIM, status=PersistentVolumeClaimStatus(phase="Pending"))
    assert _why(choose_volume_name(KEY, pending)) == "error processing PVC default/data: PVC is not bound"
    metadata = msgspec.structs.replace(CLAIM.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    leaving = msgspec.structs.replace(CLAIM, metadata=metadata)
    assert "PVC is being deleted" in _why(choose_volume_name(KEY, leaving))


def test_block_volumes_are_refused_in_one_sentence() -> None:
    spec = msgspec.structs.replace(CLAIM.spec, volume_mode="Block")
    assert "volumeMode Block isn't supported" in _why(
        choose_volume_name(KEY, msgspec.structs.replace(CLAIM, spec=spec))
    )
    assert "has volumeMode Block" in _why(choose_bound_source(CLAIM, _volume(volume_mode="Block"), NODE))


@pytest.mark.parametrize("reference", [None, ObjectReference(name="data", uid="another")])
def test_a_volume_that_somebody_else_holds_is_refused(reference: ObjectReference | None) -> None:
    assert "claimRef" in _why(choose_bound_source(CLAIM, _volume(claim_ref=reference), NODE))


def test_a_volume_belongs_to_its_nodes() -> None:
    words = 'MountVolume.NodeAffinity check failed for volume "pv-1" : no matching NodeSelectorTerms'
    assert _why(choose_bound_source(CLAIM, _volume(zone="b"), NODE)) == words
    assert "waits for the labels" in _why(choose_bound_source(CLAIM, _volume(), None))
    assert isinstance(choose_bound_source(CLAIM, _volume(node_affinity=None), None), LocalVolume)


def test_other_kinds_of_volumes_are_refused() -> None:
    found = choose_bound_source(CLAIM, _volume(local=None, csi={"driver": "x"}), NODE)
    assert "use local or hostPath" in _why(found)
    assert "not found" in _why(choose_bound_source(CLAIM, None, NODE))


def test_mount_options_are_those_of_every_file_system() -> None:
    assert compute_mount_flags(("ro,noexec", "rw")) == MS_RDONLY | MS_NOEXEC
    assert "hard" in _why(compute_mount_flags(("hard",)))
