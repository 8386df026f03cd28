"""What a soak run makes of what it saw: rows of problems, points of death, duplicates, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.pods.actions import StartContainer
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import POD_UID_LABEL, ContainerState, RuntimeContainer, RuntimeSandbox
from bench.report import Figure
from bench.soak.findings import Check, Findings, render_findings
from bench.soak.histories import NodeHistory, PodHistory
from bench.soak.kill_cycles import Point, list_points
from bench.soak.mortal_agent import Moment, Note, describe_action, read_notes
from bench.soak.runtime_restarts import find_duplicates
from bench.soak.victim import count_starts
from kubeapi.informer import Change
from kubeapi.meta import Condition
from kubeapi.pod import ContainerStatus, Pod, PodStatus, PodUID
from tests import builders

READY = Condition(type="Ready", status="True")
UNREADY = Condition(type="Ready", status="False", message="gone away")


def pod_with(condition: Condition, container_id: str = "c1", restart_count: int = 0) -> Pod:
    status = ContainerStatus(name="main", container_id=container_id, restart_count=restart_count)
    return builders.changed(
        builders.pod("web"), status=PodStatus(conditions=(condition,), container_statuses=(status,))
    )


def changes_of(*pods: Pod | None) -> PodHistory:
    history = PodHistory()
    for pod in pods:
        history.note(Change(builders.pod("web").key, None, pod))
    return history


def test_pods_that_stay_as_they_are_make_no_history() -> None:
    history = changes_of(pod_with(READY), pod_with(READY))
    assert (history.restarts, history.flips, history.gone, history.list_unready()) == ([], [], [], ())
    assert history.names == {"web"}


def test_each_change_that_should_not_be_is_a_row() -> None:
    assert changes_of(pod_with(READY), pod_with(UNREADY), pod_with(READY)).flips == [
        "web became unready",
        "web became ready",
    ]
    assert changes_of(pod_with(READY), pod_with(UNREADY)).list_unready() == ("web",)
    assert len(changes_of(pod_with(READY), pod_with(READY, restart_count=1)).restarts) == 1
    assert len(changes_of(pod_with(READY), pod_with(READY, "c2")).restarts) == 1
    assert changes_of(pod_with(READY), None).gone == ["web is gone"]


def test_a_node_that_is_not_ready_is_a_row() -> None:
    history = NodeHistory()
    node = builders.node()
    for condition in (READY, UNREADY):
        status = builders.changed(node.status, conditions=(condition,))
        history.note(Change(node.key, None, builders.changed(node, status=status)))
    assert history.unready == [f"{node.metadata.name}: gone away"]


def test_each_action_is_died_at_once_before_any_twice() -> None:
    notes = [Note("A a", 0.2), Note("B b", 1.0), Note("A a", 0.4)]
    assert list_points(notes) == (
        Point("A a", Moment.BEFORE, 0.2),
        Point("B b", Moment.DURING, 0.5),
        Point("A a", Moment.DURING, 0.2),
        Point("B b", Moment.AFTER, 0.5),
        Point("A a", Moment.AFTER, 0.2),
        Point("B b", Moment.BEFORE, 0.5),
    )


def test_an_action_has_the_same_name_in_each_life() -> None:
    names = {describe_action(StartContainer("web", ContainerID(each))) for each in ("c1", "c2")}
    assert names == {"StartContainer container/web"}


def test_files_that_nobody_wrote_are_empty(tmp_path: Path) -> None:
    assert read_notes(tmp_path, "uid") == ()
    assert count_starts(tmp_path / "web") == {}
    (tmp_path / "web").write_text("first\nweb\nweb\n")
    assert count_starts(tmp_path / "web") == {"first": 1, "web": 2}


def sandbox(identifier: str, ready: bool = True) -> RuntimeSandbox:
    return RuntimeSandbox(SandboxID(identifier), PodUID("u1"), "web", "default", 0, ready, 0.0)


def container(identifier: str, state: ContainerState, uid: str = "u1") -> RuntimeContainer:
    labels = {POD_UID_LABEL: uid}
    return RuntimeContainer(ContainerID(identifier), SandboxID("s"), "main", 0, state, 0.0, labels=labels)


@pytest.mark.parametrize(
    ("sandboxes", "containers", "expected"),
    [
        ((sandbox("s1"), sandbox("s0", ready=False)), (container("c1", ContainerState.RUNNING),), ()),
        ((), (container("c1", ContainerState.RUNNING), container("c0", ContainerState.EXITED)), ()),
        ((), (container("c1", ContainerState.RUNNING), container("c2", ContainerState.RUNNING, "u2")), ()),
        ((sandbox("s1"), sandbox("s2")), (), ("2 ready sandboxes of default/web u1",)),
        (
            (),
            (container("c1", ContainerState.RUNNING), container("c2", ContainerState.RUNNING)),
            ("2 running containers main of u1",),
        ),
    ],
)
def test_what_is_there_twice_is_found(
    sandboxes: tuple[RuntimeSandbox, ...], containers: tuple[RuntimeContainer, ...], expected: tuple[str, ...]
) -> None:
    assert find_duplicates(sandboxes, containers) == expected


def test_a_table_shows_each_check_and_no_more_problems_than_one_can_read() -> None:
    findings = Findings(
        "kills",
        (Check("left"), Check("doubled", tuple(f"problem {number}" for number in range(7)))),
        (Figure("pods", 7, ""),),
    )
    text = render_findings(findings)
    assert not findings.clean
    assert Findings("kills", (Check("left"),)).clean
    assert "problem 4" in text
    assert "problem 5" not in text
    assert "… and 2 more" in text
    assert text.splitlines()[2].split() == ["left", "0", "ok"]
