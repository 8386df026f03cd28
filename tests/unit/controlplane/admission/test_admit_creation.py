"""What admission adds to new objects and what it refuses, in upstream's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.apiserver.admission import admit_creation, admit_update
from controlplane.apiserver.failures import ApiFailure
from controlplane.apiserver.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    STORAGE_CLASS,
    Kind,
)

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass
class Objects:
    """Policy objects by kind and name."""

    held: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def put(self, kind: Kind, name: str, metadata: Mapping[str, Any] | None = None, **fields: Any) -> Objects:
        self.held[kind.plural, name] = {"metadata": {"name": name, **(metadata or {})}, **fields}
        return self

    def find(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.held.get((kind.plural, name))

    def select(self, kind: Kind) -> Iterable[Mapping[str, Any]]:
        return [each for (plural, _), each in self.held.items() if plural == kind.plural]


def admit_pod(objects: Objects, **spec: Any) -> dict[str, Any]:
    admitted = admit_creation(POD, {"metadata": {"name": "p"}, "spec": spec}, objects)
    result: dict[str, Any] = admitted["spec"]
    return result


def refuse_pod(objects: Objects, **spec: Any) -> str:
    with pytest.raises(ApiFailure) as refused:
        admit_pod(objects, **spec)
    assert refused.value.code == 403
    return str(refused.value).removeprefix('pods "p" is forbidden: ')


def test_a_pod_gets_the_default_account_and_priority() -> None:
    assert admit_pod(Objects()) == {
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }


# --- runtime classes ----------------------------------------------------------------------------------------


def test_an_unknown_runtime_class_is_refused() -> None:
    assert refuse_pod(Objects(), runtimeClassName="x") == 'pod rejected: RuntimeClass "x" not found'


def test_a_runtime_class_adds_overhead_selector_and_tolerations() -> None:
    toleration = {"key": "kata", "operator": "Exists"}
    objects = Objects().put(
        RUNTIME_CLASS,
        "kata",
        handler="kata",
        overhead={"podFixed": {"cpu": "250m"}},
        scheduling={"nodeSelector": {"kata": "yes"}, "tolerations": [toleration]},
    )
    spec = admit_pod(
        objects, runtimeClassName="kata", nodeSelector={"zone": "a"}, tolerations=[{"key": "other"}]
    )
    assert spec["overhead"] == {"cpu": "250m"}
    assert spec["nodeSelector"] == {"zone": "a", "kata": "yes"}
    assert spec["tolerations"] == [{"key": "other"}, toleration]
    again = admit_pod(objects, runtimeClassName="kata", overhead={"cpu": "0.25"})
    assert (again["overhead"], again["tolerations"]) == ({"cpu": "250m"}, [toleration])


def test_a_class_without_demands_adds_nothing() -> None:
    objects = Objects().put(RUNTIME_CLASS, "runc", handler="runc")
    assert admit_pod(objects, runtimeClassName="runc").keys().isdisjoint({"overhead", "nodeSelector"})


def test_overhead_must_be_the_class_s() -> None:
    objects = Objects().put(RUNTIME_CLASS, "kata", handler="kata", overhead={"podFixed": {"cpu": "1"}})
    mismatch = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    assert refuse_pod(objects, runtimeClassName="kata", overhead={"cpu": "2"}) == mismatch
    without = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    assert refuse_pod(objects, overhead={"cpu": "2"}) == without


def test_selectors_must_not_contradict() -> None:
    objects = Objects().put(RUNTIME_CLASS, "kata", scheduling={"nodeSelector": {"kata": "yes"}})
    assert refuse_pod(objects, runtimeClassName="kata", nodeSelector={"kata": "no"}) == (
        "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no"
    )


# --- priorities ---------------------------------------------------------------------------------------------


def test_a_priority_comes_from_the_class() -> None:
    objects = Objects().put(PRIORITY_CLASS, "high", value=1000, preemptionPolicy="Never")
    spec = admit_pod(objects, priorityClassName="high")
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    assert refuse_pod(objects, priorityClassName="low") == "no PriorityClass with name low was found"
    assert refuse_pod(objects, priorityClassName="high", priority=7) == (
        "the integer value of priority (7) must not be provided in pod spec; priority admission controller "
        "computed 1000 from the given PriorityClass name"
    )
    assert "PreemptionPolicy (PreemptLowerPriority)" in refuse_pod(
        objects, priorityClassName="high", preemptionPolicy="PreemptLowerPriority"
    )


def test_the_default_class_is_for_pods_without_one() -> None:
    objects = Objects().put(PRIORITY_CLASS, "usual", value=10, globalDefault=True)
    spec = admit_pod(objects)
    assert (spec["priorityClassName"], spec["priority"]) == ("usual", 10)


def test_there_is_one_default_class() -> None:
    objects = Objects().put(PRIORITY_CLASS, "usual", value=10, globalDefault=True)
    second = {"metadata": {"name": "second"}, "value": 1, "globalDefault": True}
    with pytest.raises(ApiFailure, match="PriorityClass usual is already marked as default"):
        admit_creation(PRIORITY_CLASS, second, objects)


def test_an_update_without_the_priority_keeps_it() -> None:
    old = {"metadata": {}, "spec": {"priority": 7, "preemptionPolicy": "Never"}}
    assert admit_update(POD, {"metadata": {}, "spec": {}}, old)["spec"] == old["spec"]


# --- storage ------------------------------------------------------------------------------------------------


def test_volumes_and_claims_are_protected() -> None:
    for kind, finalizer in (
        (PERSISTENT_VOLUME, "kubernetes.io/pv-protection"),
        (PERSISTENT_VOLUME_CLAIM, "kubernetes.io/pvc-protection"),
    ):
        admitted = admit_creation(kind, {"metadata": {"finalizers": ["a/b"]}, "spec": {}}, Objects())
        assert admitted["metadata"]["finalizers"] == ["a/b", finalizer]
        assert admit_creation(kind, admitted, Objects()) == admitted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, "new"),
        ({"storageClassName": ""}, ""),
        ({"storageClassName": "mine"}, "mine"),
    ],
)
def test_a_claim_without_class_gets_the_newest_default(spec: dict[str, Any], wanted: str) -> None:
    objects = Objects()
    classes = (("old", "2026-01-01", "true"), ("new", "2026-02-01", "true"), ("no", "2026-03-01", ""))
    for name, created, marked in classes:
        metadata = {"creationTimestamp": f"{created}T00:00:00Z", "annotations": {DEFAULT_CLASS: marked}}
        objects.put(STORAGE_CLASS, name, metadata)
    admitted = admit_creation(PERSISTENT_VOLUME_CLAIM, {"metadata": {}, "spec": spec}, objects)
    assert admitted["spec"]["storageClassName"] == wanted
