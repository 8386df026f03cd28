"""Volumes, claims and the classes that pods and claims name: good ones, and one broken rule a row."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.validation import validate_create, validate_update

TERM = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}
AFFINITY = {"required": {"nodeSelectorTerms": [TERM]}}
GOOD: dict[str, dict[str, Any]] = {
    "PersistentVolume": {
        "metadata": {"name": "v"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/data"},
        },
    },
    "PersistentVolumeClaim": {
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "StorageClass": {"metadata": {"name": "s"}, "provisioner": "kubernetes.io/no-provisioner"},
    "RuntimeClass": {
        "metadata": {"name": "r"},
        "handler": "gvisor",
        "overhead": {"podFixed": {"cpu": "10m"}},
    },
    "PriorityClass": {"metadata": {"name": "p"}, "value": 1000},
}
MODES = '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'
CLAIM_REFUSAL = (
    "Forbidden: spec is immutable after creation except resources.requests and "
    "volumeAttributesClassName for bound claims"
)


def changed(kind: str, path: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(GOOD[kind])
    *way, last = path.split("/")
    holder: Any = document
    for part in way:
        holder = holder.setdefault(part, {})
    if value is None:
        holder.pop(last)
    else:
        holder[last] = value
    return document


@pytest.mark.parametrize("kind", GOOD)
def test_good_objects_have_no_causes(kind: str) -> None:
    assert validate_create(kind, apply_defaults(kind, GOOD[kind])) == ()


def test_a_local_volume_with_its_node_is_good() -> None:
    volume = changed("PersistentVolume", "spec/hostPath", None)
    volume["spec"] |= {"local": {"path": "/disk"}, "nodeAffinity": AFFINITY}
    assert validate_create("PersistentVolume", apply_defaults("PersistentVolume", volume)) == ()


@pytest.mark.parametrize(
    ("kind", "path", "value", "causes"),
    [
        ("PersistentVolume", "spec/hostPath", None, [("spec", "Required value: must specify a volume type")]),
        (
            "PersistentVolume",
            "spec/nfs",
            {"server": "s", "path": "/"},
            [("spec.nfs", "Forbidden: may not specify more than 1 volume type")],
        ),
        (
            "PersistentVolume",
            "spec/hostPath",
            {"path": "/a/../b"},
            [("spec.hostPath.path", "Invalid value: \"/a/../b\": must not contain '..'")],
        ),
        (
            "PersistentVolume",
            "spec/accessModes",
            [],
            [("spec.accessModes", "Required value: at least 1 access mode is required")],
        ),
        (
            "PersistentVolume",
            "spec/accessModes",
            ["Some"],
            [("spec.accessModes", f'Unsupported value: "Some": supported values: {MODES}')],
        ),
        (
            "PersistentVolume",
            "spec/accessModes",
            ["ReadWriteOnce", "ReadWriteOncePod"],
            [("spec.accessModes", "Forbidden: may not use ReadWriteOncePod with other access modes")],
        ),
        ("PersistentVolume", "spec/capacity", {}, [("spec.capacity", "Required value")]),
        (
            "PersistentVolume",
            "spec/capacity",
            {"storage": "0"},
            [("spec.capacity[storage]", 'Invalid value: "0": must be greater than zero')],
        ),
        (
            "PersistentVolume",
            "spec/persistentVolumeReclaimPolicy",
            "Burn",
            [
                (
                    "spec.persistentVolumeReclaimPolicy",
                    'Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"',
                )
            ],
        ),
        (
            "PersistentVolume",
            "spec/volumeMode",
            "Tape",
            [("spec.volumeMode", 'Unsupported value: "Tape": supported values: "Block", "Filesystem"')],
        ),
        (
            "PersistentVolume",
            "spec/nodeAffinity",
            {},
            [("spec.nodeAffinity.required", "Required value: must specify required node constraints")],
        ),
        ("PersistentVolumeClaim", "spec/resources", {}, [("spec.resources[storage]", "Required value")]),
        (
            "PersistentVolumeClaim",
            "spec/resources",
            {"requests": {"storage": "-1"}},
            [("spec.resources[storage]", 'Invalid value: "-1": must be greater than zero')],
        ),
        (
            "PersistentVolumeClaim",
            "spec/accessModes",
            [],
            [("spec.accessModes", "Required value: at least 1 access mode is required")],
        ),
        ("StorageClass", "provisioner", "", [("provisioner", "Required value")]),
        (
            "StorageClass",
            "reclaimPolicy",
            "Recycle",
            [("reclaimPolicy", 'Unsupported value: "Recycle": supported values: "Delete", "Retain"')],
        ),
        (
            "StorageClass",
            "volumeBindingMode",
            "Later",
            [
                (
                    "volumeBindingMode",
                    'Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
                )
            ],
        ),
        (
            "PriorityClass",
            "value",
            1_000_000_001,
            [("value", "Forbidden: maximum allowed value of a user defined priority is 1000000000")],
        ),
        (
            "PriorityClass",
            "metadata/name",
            "system-mine",
            [
                (
                    "metadata.name",
                    "Forbidden: priority class names with 'system-' prefix are reserved for system use only",
                )
            ],
        ),
        (
            "PriorityClass",
            "preemptionPolicy",
            "Ask",
            [
                (
                    "preemptionPolicy",
                    'Unsupported value: "Ask": supported values: "Never", "PreemptLowerPriority"',
                )
            ],
        ),
    ],
)
def test_a_broken_rule_is_named(kind: str, path: str, value: Any, causes: list[tuple[str, str]]) -> None:
    found = validate_create(kind, apply_defaults(kind, changed(kind, path, value)))
    assert [(cause.field, cause.message) for cause in found] == causes


@pytest.mark.parametrize("handler", ["", "Upper", "a.b"])
def test_a_handler_is_a_label(handler: str) -> None:
    found = validate_create("RuntimeClass", changed("RuntimeClass", "handler", handler))
    assert {cause.field for cause in found} == {"handler"}


def test_a_local_volume_needs_its_node() -> None:
    volume = changed("PersistentVolume", "spec/hostPath", None)
    volume["spec"]["local"] = {"path": "/disk"}
    (cause,) = validate_create("PersistentVolume", volume)
    assert str(cause) == "spec.nodeAffinity: Required value: Local volume requires node affinity"


@pytest.mark.parametrize(
    ("kind", "path", "value", "causes"),
    [
        ("PersistentVolume", "spec/capacity/storage", "2Gi", []),
        ("PersistentVolume", "spec/claimRef", {"name": "c", "namespace": "default"}, []),
        (
            "PersistentVolume",
            "spec/hostPath",
            {"path": "/else"},
            [
                (
                    "spec.persistentvolumesource",
                    "Forbidden: spec.persistentvolumesource is immutable after creation",
                )
            ],
        ),
        (
            "PersistentVolume",
            "spec/volumeMode",
            "Block",
            [("spec.volumeMode", 'Invalid value: "Block": field is immutable')],
        ),
        ("PersistentVolumeClaim", "spec/volumeName", "v", []),
        ("PersistentVolumeClaim", "spec/storageClassName", "late-default", []),
        ("PersistentVolumeClaim", "spec/accessModes", ["ReadOnlyMany"], [("spec", CLAIM_REFUSAL)]),
        ("PersistentVolumeClaim", "spec/resources/requests/storage", "2Gi", [("spec", CLAIM_REFUSAL)]),
        (
            "StorageClass",
            "provisioner",
            "example.com/other",
            [("provisioner", "Forbidden: updates to provisioner are forbidden.")],
        ),
        (
            "StorageClass",
            "reclaimPolicy",
            "Retain",
            [("reclaimPolicy", 'Invalid value: "Retain": field is immutable')],
        ),
        ("RuntimeClass", "handler", "kata", [("handler", 'Invalid value: "kata": field is immutable')]),
        ("PriorityClass", "value", 2, [("value", "Forbidden: may not be changed in an update.")]),
        ("PriorityClass", "globalDefault", True, []),
    ],
)
def test_what_may_change_later(kind: str, path: str, value: Any, causes: list[tuple[str, str]]) -> None:
    old, new = (apply_defaults(kind, each) for each in (GOOD[kind], changed(kind, path, value)))
    assert [(cause.field, cause.message) for cause in validate_update(kind, new, old)] == causes


@pytest.mark.parametrize(("storage", "fields"), [("2Gi", []), ("512Mi", ["spec.resources.requests.storage"])])
def test_a_bound_claim_only_grows(storage: str, fields: list[str]) -> None:
    old = apply_defaults("PersistentVolumeClaim", GOOD["PersistentVolumeClaim"])
    old["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    new = changed("PersistentVolumeClaim", "spec/resources/requests/storage", storage)
    found = validate_update("PersistentVolumeClaim", apply_defaults("PersistentVolumeClaim", new), old)
    assert [cause.field for cause in found] == fields
