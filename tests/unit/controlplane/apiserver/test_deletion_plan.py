"""What a deletion does to an object."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.apiserver.deletion import (
    DeleteOptions,
    Deletion,
    Keep,
    Mark,
    Propagation,
    Remove,
    is_ready_to_remove,
    plan_deletion,
)
from controlplane.apiserver.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, Kind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Document = dict[str, Any]


def plan(kind: Kind, document: Document, **options: Any) -> Deletion:
    return plan_deletion(kind, document, DeleteOptions(**options), NOW)


def build_pod(phase: str = "Running", node: str = "n", **metadata: Any) -> Document:
    return {
        "metadata": {"name": "p", **metadata},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20},
        "status": {"phase": phase},
    }


def marked(plan: Deletion) -> Document:
    assert isinstance(plan, Mark)
    metadata: Document = plan.document["metadata"]
    return metadata


def test_an_object_without_ties_is_removed() -> None:
    assert plan(CONFIG_MAP, {"metadata": {"name": "a"}}) == Remove()


def test_an_object_with_finalizers_is_marked_once() -> None:
    document: Document = {"metadata": {"name": "a", "finalizers": ["x"]}}
    metadata = marked(plan(CONFIG_MAP, document))
    assert metadata["deletionTimestamp"] == "2026-01-02T03:04:05Z"
    assert plan(CONFIG_MAP, {"metadata": metadata}) == Keep()


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 20),
        ({"grace_period_seconds": 5}, 5),
        ({"grace_period_seconds": 100}, 100),
        ({"grace_period_seconds": -1}, 1),
    ],
)
def test_a_running_pod_gets_its_grace(options: dict[str, int], seconds: int) -> None:
    metadata = marked(plan(POD, build_pod(), **options))
    assert metadata["deletionGracePeriodSeconds"] == seconds


@pytest.mark.parametrize("pod", [build_pod(node=""), build_pod("Succeeded"), build_pod("Failed")])
def test_a_pod_that_runs_nowhere_goes_at_once(pod: Document) -> None:
    assert plan(POD, pod) == Remove()


def test_the_kubelet_ends_a_deletion_with_grace_zero() -> None:
    assert plan(POD, build_pod(), grace_period_seconds=0) == Remove()


def test_a_later_deletion_may_only_shorten_the_grace() -> None:
    pod = build_pod(deletionTimestamp="2026-01-02T03:04:25Z", deletionGracePeriodSeconds=20)
    assert plan(POD, pod, grace_period_seconds=60) == Keep()
    shorter = marked(plan(POD, pod, grace_period_seconds=5))
    assert shorter["deletionTimestamp"] == "2026-01-02T03:04:10Z"
    assert shorter["deletionGracePeriodSeconds"] == 5


def test_a_pod_with_finalizers_outlives_its_grace() -> None:
    pod = build_pod(deletionTimestamp="2026-01-02T03:04:25Z", deletionGracePeriodSeconds=20, finalizers=["x"])
    metadata = marked(plan(POD, pod, grace_period_seconds=0))
    assert metadata["deletionGracePeriodSeconds"] == 0
    assert not is_ready_to_remove(POD, {"metadata": metadata})
    assert is_ready_to_remove(POD, {"metadata": metadata | {"finalizers": []}})


@pytest.mark.parametrize(
    ("propagation", "before", "after"),
    [
        (Propagation.FOREGROUND, [], ["foregroundDeletion"]),
        (Propagation.ORPHAN, ["x", "foregroundDeletion"], ["x", "orphan"]),
        (Propagation.FOREGROUND, ["orphan"], ["foregroundDeletion"]),
    ],
)
def test_propagation_becomes_a_finalizer(
    propagation: Propagation, before: list[str], after: list[str]
) -> None:
    document: Document = {"metadata": {"name": "d", "generation": 4, "finalizers": before}}
    metadata = marked(plan(DEPLOYMENT, document, propagation=propagation))
    assert (metadata["finalizers"], metadata["generation"]) == (after, 5)


def test_background_takes_an_earlier_wish_back() -> None:
    document: Document = {"metadata": {"name": "d", "finalizers": ["foregroundDeletion"]}}
    assert plan(DEPLOYMENT, document, propagation=Propagation.BACKGROUND) == Remove()


def test_a_namespace_waits_for_its_content() -> None:
    namespace: Document = {
        "metadata": {"name": "w"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
    result = plan(NAMESPACE, namespace)
    assert isinstance(result, Mark)
    assert result.document["status"] == {"phase": "Terminating"}
    assert not is_ready_to_remove(NAMESPACE, result.document)
    assert is_ready_to_remove(NAMESPACE, result.document | {"spec": {"finalizers": []}})


def test_an_object_that_nobody_deletes_is_never_ready_to_remove() -> None:
    assert not is_ready_to_remove(CONFIG_MAP, {"metadata": {"name": "a"}})
