"""A ReplicaSet with its three good pods, one fact changed, and what the plan makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.controllers.actions import Adopt, Create, Delete, MergePatch, Plan
from controlplane.controllers.replicaset.deletion_order import order_for_deletion
from controlplane.controllers.replicaset.plan import ObservedReplicaSet, plan_replica_set
from kubeapi.apps import ReplicaSet
from kubeapi.pod import ContainerStatus, Pod
from kubeapi.resources import PODS, REPLICA_SETS
from tests.builders import (
    NOW,
    at,
    changed,
    condition,
    owner_reference,
    pending_pod,
    pod,
    pod_template,
    replica_set,
)

COUNTED = {"replicas": 3, "fully_labeled_replicas": 3, "ready_replicas": 3, "available_replicas": 3}
GOOD = replica_set("web-abc", status=COUNTED)


def owned_pod(name: str, **parts: Any) -> Pod:
    meta = {"owner_references": (owner_reference(GOOD),), **parts.pop("metadata", {})}
    return pod(name, metadata=meta, **parts)


PODS_OF_GOOD = tuple(owned_pod(name) for name in ("web-abc-1", "web-abc-2", "web-abc-3"))


def plan(owner: ReplicaSet, *pods: Pod, **observed: Any) -> Plan:
    return plan_replica_set(ObservedReplicaSet(owner, pods, **observed), NOW)


def wanting(replicas: int) -> ReplicaSet:
    return changed(GOOD, spec=changed(GOOD.spec, replicas=replicas))


def test_three_ready_pods_need_nothing() -> None:
    assert plan(GOOD, *PODS_OF_GOOD) == Plan((), None)


def test_a_missing_pod_is_made_from_the_raw_template() -> None:
    template = pod_template(futureField=[1, {"deep": "er"}])
    owner = changed(GOOD, spec=changed(GOOD.spec, template=template))
    create, status = plan(owner, *PODS_OF_GOOD[:2]).actions
    assert isinstance(create, Create)
    assert create.resource is PODS
    assert create.body == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": create.key.name,
            "generateName": "web-abc-",
            "namespace": "default",
            "labels": {"app": "web"},
            "ownerReferences": [msgspec.to_builtins(owner_reference(GOOD))],
        },
        "spec": {
            "containers": [{"name": "web", "image": "berth.local/web:1"}],
            "futureField": [1, {"deep": "er"}],
        },
    }
    assert create.note is not None
    assert (create.note.reason, create.note.message) == (
        "SuccessfulCreate",
        f"Created pod: {create.key.name}",
    )
    assert isinstance(status, MergePatch)
    assert status.body["status"]["replicas"] == 2


def test_names_are_new_and_different() -> None:
    creates = [each for each in plan(wanting(40)).actions if isinstance(each, Create)]
    names = {each.key.name for each in creates}
    assert len(names) == 40
    assert all(name.startswith("web-abc-") for name in names)


def test_a_finished_or_dying_pod_is_replaced() -> None:
    finished = owned_pod("web-abc-3", status={"phase": "Failed"})
    dying = owned_pod("web-abc-3", metadata={"deletion_timestamp": at(0)})
    for gone in (finished, dying):
        actions = plan(GOOD, *PODS_OF_GOOD[:2], gone).actions
        assert [type(each) for each in actions] == [Create, MergePatch]


def test_a_surplus_pod_is_deleted_by_its_uid() -> None:
    unready = owned_pod("web-abc-4", status={"conditions": (condition("Ready", "False"),)})
    delete = plan(GOOD, *PODS_OF_GOOD, unready).actions[0]
    assert isinstance(delete, Delete)
    assert (delete.resource, delete.key, delete.uid) == (PODS, unready.key, "uid-web-abc-4")
    assert delete.note is not None
    assert delete.note.message == "Deleted pod: web-abc-4"


def test_an_orphan_is_adopted_and_nothing_else_is_done_yet() -> None:
    orphan = pod("stray")
    (adopt,) = plan(GOOD, *PODS_OF_GOOD[:2], orphan).actions
    assert isinstance(adopt, Adopt)
    assert adopt.body["metadata"] == {
        "uid": "uid-stray",
        "resourceVersion": "1",
        "ownerReferences": [msgspec.to_builtins(owner_reference(GOOD))],
    }


def test_a_pod_that_lost_its_label_is_released() -> None:
    relabelled = owned_pod("web-abc-3", metadata={"labels": {"app": "debug"}})
    assert plan(GOOD, *PODS_OF_GOOD[:2], relabelled).actions == (
        MergePatch(
            PODS,
            relabelled.key,
            {"metadata": {"uid": "uid-web-abc-3", "resourceVersion": "1", "ownerReferences": []}},
        ),
    )


def test_somebody_elses_pod_is_left_alone() -> None:
    foreign = pod("other", metadata={"owner_references": (owner_reference(replica_set("other")),)})
    assert plan(GOOD, *PODS_OF_GOOD, foreign) == Plan((), None)


def test_a_dying_replica_set_makes_and_adopts_nothing() -> None:
    dying = changed(GOOD, metadata=changed(GOOD.metadata, deletion_timestamp=at(0)))
    assert [type(each) for each in plan(dying, pod("stray")).actions] == [MergePatch]


def test_a_pod_is_available_after_min_ready_seconds() -> None:
    patient = changed(GOOD, spec=changed(GOOD.spec, min_ready_seconds=90))
    outcome = plan(patient, *PODS_OF_GOOD)
    (status,) = outcome.actions
    assert isinstance(status, MergePatch)
    assert status.body["status"]["availableReplicas"] is None
    assert outcome.look_again_seconds == 30.0


def test_a_refused_creation_is_shown_first_and_taken_back_later() -> None:
    status, create = plan(GOOD, *PODS_OF_GOOD[:2], last_failure="quota").actions
    assert isinstance(create, Create)
    assert isinstance(status, MergePatch)
    (shown,) = status.body["status"]["conditions"]
    assert (shown["type"], shown["reason"], shown["message"]) == ("ReplicaFailure", "FailedCreate", "quota")
    failed = condition("ReplicaFailure", reason="FailedCreate")
    owner = changed(GOOD, status=changed(GOOD.status, conditions=(failed,)))
    (after,) = plan(owner, *PODS_OF_GOOD).actions
    assert isinstance(after, MergePatch)
    assert after.resource is REPLICA_SETS
    assert after.body["status"]["conditions"] == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pending_pod("a"), pod("b")),
        (pod("a", status={"phase": "Pending"}), pod("b")),
        (pod("a", status={"conditions": ()}), pod("b")),
        (pod("a"), pod("b", metadata={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "10"}})),
        (pod("a", status={"conditions": (condition("Ready", since=-5),)}), pod("b")),
        (pod("a", status={"container_statuses": (ContainerStatus(restart_count=2),)}), pod("b")),
        (pod("a", metadata={"creation_timestamp": at(-60)}), pod("b")),
    ],
)
def test_the_pod_that_is_missed_least_goes_first(first: Pod, second: Pod) -> None:
    assert order_for_deletion((second, first), (first, second), NOW) == (first, second)


def test_pods_on_crowded_nodes_go_before_others() -> None:
    crowded = (pod("a"), pod("b"))
    alone = pod("c", spec={"node_name": "node-2"})
    assert order_for_deletion((alone, *crowded), (alone, *crowded), NOW)[-1] == alone
