"""Pods with claims go where their volumes are, or can be found."""

from __future__ import annotations

import msgspec

from controlplane.scheduler.choose import Placement, Unschedulable, choose_node
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import build_pod_facts
from controlplane.scheduler.storage_state import StorageState
from kubeapi.meta import ObjectKey, format_time
from kubeapi.pod import Pod
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kubeapi.volume import PersistentVolumeClaimVolumeSource, Volume
from tests.builders import NOW, node, pending_pod, pod

ONE, TWO = node("node-1"), node("node-2")


def claim(
    name: str = "data", volume: str = "", size: str = "1Gi", **metadata: object
) -> PersistentVolumeClaim:
    document = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": "local",
            "volumeName": volume,
        },
        "status": {"phase": "Bound" if volume else "Pending"},
    }
    return msgspec.convert(document, PersistentVolumeClaim)


def volume(name: str, on: str, size: str = "1Gi") -> PersistentVolume:
    requirement = {"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}
    document = {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "local": {"path": "/disk"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}},
        },
        "status": {"phase": "Available"},
    }
    return msgspec.convert(document, PersistentVolume)


def storage(
    *objects: PersistentVolumeClaim | PersistentVolume, mode: str = "WaitForFirstConsumer"
) -> StorageState:
    return StorageState(
        {each.key: each for each in objects if isinstance(each, PersistentVolumeClaim)},
        {each.key: each for each in objects if isinstance(each, PersistentVolume)},
        {ObjectKey("", "local"): StorageClass(volume_binding_mode=mode)},
    )


def volumes_of(*claims: str) -> tuple[Volume, ...]:
    return tuple(
        Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=name))
        for name in claims
    )


def user(*claims: str) -> Pod:
    return pending_pod("user", spec={"volumes": volumes_of(*claims)})


def decide(wanted: Pod, state: StorageState, *nodes: NodeState) -> Placement | Unschedulable:
    return choose_node(build_pod_facts(wanted), nodes or (NodeState(ONE), NodeState(TWO)), state)


def reasons(decision: Placement | Unschedulable) -> dict[str, tuple[str, ...]]:
    assert isinstance(decision, Unschedulable)
    return dict(decision.reasons)


def test_a_pod_without_claims_goes_anywhere() -> None:
    assert isinstance(decide(pending_pod(), storage()), Placement)


def test_a_bound_volume_says_where() -> None:
    state = storage(claim(volume="disk"), volume("disk", "node-2"))
    assert decide(user("data"), state) == Placement("node-2")
    conflict = ("node(s) had volume node affinity conflict",)
    assert reasons(decide(user("data"), state, NodeState(ONE))) == {"node-1": conflict}


def test_a_waiting_claim_needs_a_free_volume_on_the_node() -> None:
    state = storage(claim(), volume("disk", "node-2"))
    assert decide(user("data"), state) == Placement("node-2")
    none = ("node(s) didn't find available persistent volumes to bind",)
    assert reasons(decide(user("data"), state, NodeState(ONE))) == {"node-1": none}


def test_two_claims_need_two_volumes() -> None:
    claims = (claim("a"), claim("b"))
    assert not isinstance(decide(user("a", "b"), storage(*claims, volume("x", "node-1"))), Placement)
    both = storage(*claims, volume("x", "node-1"), volume("y", "node-1"))
    assert decide(user("a", "b"), both) == Placement("node-1")


def test_a_volume_promised_to_a_placed_pod_is_not_free() -> None:
    state = storage(claim("first"), claim("second"), volume("disk", "node-1"))
    taken = NodeState(ONE)
    taken.add_pod(build_pod_facts(pod("earlier", spec={"volumes": volumes_of("first")})))
    assert not isinstance(decide(user("second"), state, taken), Placement)
    assert decide(user("first"), state, taken) == Placement("node-1")


def test_other_unbound_claims_must_be_bound_first() -> None:
    decision = decide(user("data"), storage(claim(), volume("disk", "node-1"), mode="Immediate"))
    assert set(reasons(decision).values()) == {("pod has unbound immediate PersistentVolumeClaims",)}


def test_a_claim_that_is_not_there_or_going() -> None:
    missing = reasons(decide(user("data"), storage()))
    assert set(missing.values()) == {('persistentvolumeclaim "data" not found',)}
    going = storage(claim(deletionTimestamp=format_time(NOW)))
    assert set(reasons(decide(user("data"), going)).values()) == {
        ('persistentvolumeclaim "data" is being deleted',)
    }
