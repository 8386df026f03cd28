"""Who makes room for a critical pod: as few and as cheap ones as possible, and nobody who counts as much."""

from __future__ import annotations

import pytest

from agent.pods.admission import admit_new_pod
from agent.pods.critical_pods import choose_preempted, is_critical, may_preempt
from agent.pods.goal import SOURCE_ANNOTATION
from kubeapi.pod import Pod, ResourceRequirements
from tests import builders


def holding(name: str, cpu: str = "", *, limited: bool = False, priority: int | None = 0) -> Pod:
    """Guaranteed where limited, best-effort where it holds nothing."""
    amounts = {"cpu": cpu, "memory": "64Mi"} if cpu else {}
    resources = ResourceRequirements(requests=amounts, limits=amounts if limited else {})
    containers = (builders.container(resources=resources),)
    return builders.pod(name, spec={"containers": containers, "priority": priority})


def critical(cpu: str = "1") -> Pod:
    return holding("critical", cpu, priority=2_000_000_000)


def chosen(*others: Pod, **lacking: int) -> list[str] | None:
    found = choose_preempted(critical(), others, lacking)
    return None if found is None else [pod.metadata.name for pod in found]


def test_static_pods_and_those_of_the_system_are_critical() -> None:
    static = builders.pod(metadata={"annotations": {SOURCE_ANNOTATION: "file"}})
    assert is_critical(static)
    assert is_critical(critical())
    assert not is_critical(holding("web", "1", priority=1_999_999_999))


@pytest.mark.parametrize(("priority", "expected"), [(None, False), (5, False), (6, False), (4, True)])
def test_an_ordinary_pod_gives_way_only_to_a_higher_priority(priority: int | None, expected: bool) -> None:
    assert may_preempt(holding("a", "1", priority=5), holding("b", "1", priority=priority)) is expected


def test_nobody_goes_if_all_together_were_not_enough() -> None:
    assert chosen(holding("a", "1"), holding("b", "1"), cpu=2001) is None


def test_nobody_goes_who_is_critical_himself() -> None:
    assert chosen(holding("other", "4", priority=2_000_001_000), cpu=500) is None


def test_the_pod_that_comes_closest_goes() -> None:
    others = holding("small", "200m"), holding("fits", "500m"), holding("large", "3")
    assert chosen(*others, cpu=500) == ["fits"]


def test_several_go_where_one_is_not_enough() -> None:
    assert chosen(holding("a", "500m"), holding("b", "600m"), holding("c", "100m"), cpu=1000) == ["b", "a"]


def test_guaranteed_pods_go_last() -> None:
    cheap, dear = holding("cheap", "500m"), holding("dear", "500m", limited=True)
    assert chosen(dear, cheap, cpu=500) == ["cheap"]
    assert chosen(dear, cheap, cpu=600) == ["dear", "cheap"]


def test_for_a_place_a_best_effort_pod_goes() -> None:
    assert chosen(holding("a", "1", limited=True), holding("none"), holding("b", "1"), pods=1) == ["none"]


def test_a_critical_pod_is_taken_and_names_who_goes() -> None:
    others = holding("a", "3"), holding("b", "900m")
    admission = admit_new_pod(critical("1"), builders.node(), others, 110)
    assert admission.refusal is None
    assert [pod.metadata.name for pod in admission.preempted] == ["b"]


def test_a_critical_pod_that_lacks_something_else_is_refused() -> None:
    others = (holding("a", "3"),)
    node = builders.node(spec={"taints": ()})
    pod = builders.changed(
        critical("2"), spec=builders.changed(critical("2").spec, node_selector={"disk": "x"})
    )
    admission = admit_new_pod(pod, node, others, 110)
    assert admission.refusal is not None
    assert admission.refusal.reason == "OutOfcpu"
    assert admission.preempted == ()


def test_an_ordinary_pod_never_makes_others_go() -> None:
    admission = admit_new_pod(holding("new", "2", priority=7), builders.node(), (holding("a", "3"),), 110)
    assert admission.refusal is not None
    assert admission.refusal.reason == "OutOfcpu"
