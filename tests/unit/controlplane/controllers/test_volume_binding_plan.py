"""Claims and volumes: a good pair, one fact changed, the whole plan; interrupted bindings end well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from controlplane.controllers.actions import Announce, MergePatch, Plan
from controlplane.controllers.volume_binding.plan import ObservedClaim, bind, plan_claim
from controlplane.controllers.volume_binding.volume_plan import ObservedVolume, plan_volume
from controlplane.controllers.volume_protection.plan import plan_claim_protection, plan_volume_protection
from controlplane.volume_matching import choose_volume
from kubeapi.meta import format_time
from kubeapi.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from tests.builders import NOW, node

Document = dict[str, Any]
HERE = {
    "required": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]}
        ]
    }
}


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def claim(**patch: Any) -> PersistentVolumeClaim:
    good = {
        "metadata": {"name": "data", "namespace": "default", "uid": "uid-data", "resourceVersion": "7"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "manual",
        },
        "status": {"phase": "Pending"},
    }
    return msgspec.convert(merged(good, patch), PersistentVolumeClaim)


def volume(name: str = "disk", size: str = "1Gi", **patch: Any) -> PersistentVolume:
    good = {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "5"},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual",
            "hostPath": {"path": "/data"},
        },
        "status": {"phase": "Available"},
    }
    return msgspec.convert(merged(good, patch), PersistentVolume)


REFERENCE = {"namespace": "default", "name": "data", "uid": "uid-data"}
BY_NAME = {**REFERENCE, "uid": ""}
BOUND_CLAIM = claim(
    metadata={"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
    spec={"volumeName": "disk"},
    status={"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
)
BOUND_VOLUME = volume(spec={"claimRef": REFERENCE}, status={"phase": "Bound"})
WAITING = StorageClass(provisioner="kubernetes.io/no-provisioner", volume_binding_mode="WaitForFirstConsumer")


def look(*volumes: PersistentVolume, of: PersistentVolumeClaim | None = None, **more: Any) -> Plan:
    return plan_claim(ObservedClaim(of or claim(), volumes, **more))


def chosen(plan: Plan) -> str:
    """The volume that a plan binds; empty when it binds none."""
    names = [
        each.key.name
        for each in plan.actions
        if isinstance(each, MergePatch) and each.resource == PERSISTENT_VOLUMES
    ]
    return names[0] if names else ""


# --- nothing to do ------------------------------------------------------------------------------------------


def test_a_bound_pair_is_left_alone() -> None:
    assert look(BOUND_VOLUME, of=BOUND_CLAIM) == Plan()
    assert plan_volume(ObservedVolume(BOUND_VOLUME, BOUND_CLAIM)) == Plan()


def test_a_free_volume_is_available() -> None:
    assert plan_volume(ObservedVolume(volume())) == Plan()


# --- binding ------------------------------------------------------------------------------------------------


def test_a_binding_is_written_volume_first() -> None:
    volume_key, claim_key = volume().key, claim().key
    claim_ref = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        **REFERENCE,
        "resourceVersion": "7",
    }
    assert look(volume()).actions == (
        MergePatch(
            PERSISTENT_VOLUMES,
            volume_key,
            {
                "metadata": {
                    "resourceVersion": "5",
                    "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
                },
                "spec": {"claimRef": claim_ref},
            },
        ),
        MergePatch(
            PERSISTENT_VOLUMES,
            volume_key,
            {"status": {"phase": "Bound", "message": None, "reason": None}},
            subresource="status",
        ),
        MergePatch(
            PERSISTENT_VOLUME_CLAIMS,
            claim_key,
            {
                "metadata": {
                    "annotations": {
                        "pv.kubernetes.io/bind-completed": "yes",
                        "pv.kubernetes.io/bound-by-controller": "yes",
                    }
                },
                "spec": {"volumeName": "disk"},
            },
        ),
        MergePatch(
            PERSISTENT_VOLUME_CLAIMS,
            claim_key,
            {
                "status": {
                    "phase": "Bound",
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                }
            },
            subresource="status",
        ),
    )


@pytest.mark.parametrize("done", range(5))
def test_an_interrupted_binding_is_finished(done: int) -> None:
    """Each prefix of the plan, then volume and claim are looked at again until nothing is left to do."""
    state = {
        PERSISTENT_VOLUMES.plural: msgspec.to_builtins(volume()),
        PERSISTENT_VOLUME_CLAIMS.plural: msgspec.to_builtins(claim()),
    }

    def views() -> tuple[PersistentVolume, PersistentVolumeClaim]:
        return (
            msgspec.convert(state["persistentvolumes"], PersistentVolume),
            msgspec.convert(state["persistentvolumeclaims"], PersistentVolumeClaim),
        )

    def apply(plan: Plan, most: int = 10) -> None:
        for action in plan.actions[:most]:
            assert isinstance(action, MergePatch)
            state[action.resource.plural] = merged(state[action.resource.plural], action.body)

    apply(look(volume()), done)
    for _ in range(3):
        disk, data = views()
        apply(plan_volume(ObservedVolume(disk, data)))
        disk, data = views()
        apply(look(disk, of=data))
    disk, data = views()
    assert (disk.status.phase, data.status.phase, data.spec.volume_name) == ("Bound", "Bound", "disk")
    assert disk.spec.claim_ref is not None
    assert disk.spec.claim_ref.uid == "uid-data"
    assert look(disk, of=data) == plan_volume(ObservedVolume(disk, data)) == Plan()


# fmt: off
CHOICES: list[tuple[PersistentVolumeClaim, tuple[PersistentVolume, ...], str]] = [
    (claim(), (volume("big", "9Gi"), volume("small", "2Gi"), volume("tiny", "1Mi")), "small"),
    (claim(), (volume("b"), volume("a")), "a"),
    (claim(), (volume(spec={"storageClassName": "other"}),), ""),
    (claim(), (volume(spec={"accessModes": ["ReadOnlyMany"]}),), ""),
    (claim(), (volume(spec={"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}),), "disk"),
    (claim(), (volume(spec={"volumeMode": "Block"}),), ""),
    (claim(spec={"volumeMode": "Block"}), (volume(spec={"volumeMode": "Block"}),), "disk"),
    (claim(), (volume(status={"phase": "Released"}),), ""),
    (claim(), (volume(metadata={"deletionTimestamp": format_time(NOW)}),), ""),
    (claim(spec={"selector": {"matchLabels": {"a": "b"}}}), (volume(),), ""),
    (claim(spec={"selector": {"matchLabels": {"a": "b"}}}),
     (volume("x"), volume("y", "3Gi", metadata={"labels": {"a": "b"}})), "y"),
    (claim(), (volume("small"), volume("mine", "5Gi", spec={"claimRef": BY_NAME})), "mine"),
    (claim(), (volume("mine", spec={"claimRef": BY_NAME, "storageClassName": "x"}),), "mine"),
    (claim(), (volume("taken", spec={"claimRef": {**REFERENCE, "name": "other"}}),), ""),
    (claim(), (volume("taken", spec={"claimRef": {**REFERENCE, "uid": "earlier"}}),), ""),
    (claim(spec={"storageClassName": None}), (volume("none", spec={"storageClassName": ""}),), "none"),
    (claim(spec={"volumeName": "named"}),
     (volume("small"), volume("named", "9Gi", spec={"storageClassName": "x"})), "named"),
    (claim(spec={"volumeName": "absent"}), (volume("small"),), ""),
    (claim(metadata={"deletionTimestamp": format_time(NOW)}), (volume(),), ""),
]
# fmt: on


@pytest.mark.parametrize(("wanted", "volumes", "name"), CHOICES)
def test_which_volume_is_bound(
    wanted: PersistentVolumeClaim, volumes: tuple[PersistentVolume, ...], name: str
) -> None:
    assert chosen(look(*volumes, of=wanted)) == name


def test_a_claim_waits_for_its_first_consumer() -> None:
    (said,) = look(volume(), storage_class=WAITING).actions
    assert isinstance(said, Announce)
    assert said.note.reason == "WaitForFirstConsumer"
    assert said.note.message == "waiting for first consumer to be created before binding"


def test_with_a_consumer_it_is_bound_where_that_is() -> None:
    there = volume("there", spec={"nodeAffinity": HERE})
    for name, found in (("node-1", "there"), ("node-2", "")):
        plan = look(there, storage_class=WAITING, consumer_node=node(name))
        assert chosen(plan) == found


def test_a_volume_that_is_reserved_needs_no_consumer() -> None:
    mine = volume(spec={"claimRef": BY_NAME})
    assert chosen(look(mine, storage_class=WAITING)) == "disk"


@pytest.mark.parametrize(
    ("wanted", "storage_class", "reason"),
    [
        (claim(spec={"storageClassName": ""}), None, "FailedBinding"),
        (claim(), None, "ProvisioningFailed"),
        (claim(), StorageClass(provisioner="example.com/p"), "ExternalProvisioning"),
    ],
)
def test_a_wait_is_explained(
    wanted: PersistentVolumeClaim, storage_class: StorageClass | None, reason: str
) -> None:
    (said,) = look(of=wanted, storage_class=storage_class).actions
    assert isinstance(said, Announce)
    assert said.note.reason == reason


# --- losing and releasing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volumes", "reason"),
    [
        ((), "ClaimLost"),
        ((volume(spec={"claimRef": {**REFERENCE, "name": "other", "uid": "x"}}),), "ClaimMisbound"),
    ],
)
def test_a_bound_claim_is_lost_with_its_volume(volumes: tuple[PersistentVolume, ...], reason: str) -> None:
    (patch,) = look(*volumes, of=BOUND_CLAIM).actions
    assert isinstance(patch, MergePatch)
    assert patch.body["status"]["phase"] == "Lost"
    assert patch.note is not None
    assert patch.note.reason == reason


# fmt: off
PHASES: list[tuple[PersistentVolume, PersistentVolumeClaim | None, str]] = [
    (volume(status={"phase": "Pending"}), None, "Available"),
    (volume(spec={"claimRef": BY_NAME}, status={"phase": "Pending"}), None, "Available"),
    (BOUND_VOLUME, None, "Released"),
    (BOUND_VOLUME, claim(metadata={"uid": "another"}), "Released"),
    (volume(spec={"claimRef": REFERENCE}), BOUND_CLAIM, "Bound"),
    (volume(spec={"claimRef": REFERENCE, "persistentVolumeReclaimPolicy": "Delete"}), None, "Failed"),
    (volume(status={"phase": "Released"}), None, "Available"),
]
# fmt: on


@pytest.mark.parametrize(("disk", "data", "phase"), PHASES)
def test_phases(disk: PersistentVolume, data: PersistentVolumeClaim | None, phase: str) -> None:
    (patch,) = plan_volume(ObservedVolume(disk, data)).actions
    assert isinstance(patch, MergePatch)
    assert (patch.subresource, patch.body["status"]["phase"]) == ("status", phase)


def test_a_released_volume_stays_released() -> None:
    released = volume(spec={"claimRef": REFERENCE}, status={"phase": "Released"})
    assert plan_volume(ObservedVolume(released)) == Plan()


@pytest.mark.parametrize(
    ("annotations", "reference"),
    [
        ({"pv.kubernetes.io/bound-by-controller": "yes"}, None),
        ({}, {"uid": None, "resourceVersion": None}),
    ],
)
def test_a_volume_whose_claim_went_elsewhere_is_free(annotations: dict[str, str], reference: object) -> None:
    disk = volume(metadata={"annotations": annotations}, spec={"claimRef": REFERENCE})
    patch, *_ = plan_volume(ObservedVolume(disk, claim(spec={"volumeName": "other"}))).actions
    assert isinstance(patch, MergePatch)
    assert patch.body["spec"] == {"claimRef": reference}


def test_binding_again_writes_nothing() -> None:
    assert bind(BOUND_CLAIM, BOUND_VOLUME) == ()


def test_one_volume_is_not_chosen_for_two() -> None:
    assert choose_volume(claim(), (BOUND_VOLUME,)) == BOUND_VOLUME
    assert choose_volume(claim(metadata={"name": "other", "uid": "o"}), (BOUND_VOLUME,)) is None


# --- protection ---------------------------------------------------------------------------------------------

GOING = format_time(NOW)


@pytest.mark.parametrize(
    ("metadata", "is_used", "finalizers"),
    [
        ({"finalizers": ["kubernetes.io/pvc-protection"]}, False, None),
        ({"finalizers": ["a/b"]}, False, ["a/b", "kubernetes.io/pvc-protection"]),
        ({"finalizers": ["kubernetes.io/pvc-protection"], "deletionTimestamp": GOING}, True, None),
        ({"finalizers": ["kubernetes.io/pvc-protection", "a/b"], "deletionTimestamp": GOING}, False, ["a/b"]),
        ({"finalizers": ["a/b"], "deletionTimestamp": GOING}, False, None),
    ],
)
def test_a_claim_is_protected_while_it_is_used(
    metadata: dict[str, Any], is_used: bool, finalizers: list[str] | None
) -> None:
    plan = plan_claim_protection(claim(metadata=metadata), is_used=is_used)
    bodies = [each.body["metadata"] for each in plan.actions if isinstance(each, MergePatch)]
    wanted = [{"resourceVersion": "7", "finalizers": finalizers}] if finalizers is not None else []
    assert bodies == wanted


@pytest.mark.parametrize(("phase", "freed"), [("Bound", False), ("Released", True), ("Available", True)])
def test_a_volume_is_protected_while_it_is_bound(phase: str, freed: bool) -> None:
    metadata = {"finalizers": ["kubernetes.io/pv-protection"], "deletionTimestamp": GOING}
    plan = plan_volume_protection(volume(metadata=metadata, status={"phase": phase}))
    assert bool(plan.actions) == freed
