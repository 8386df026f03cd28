"""What counts as written over by others, and what the next patch then starts from."""

from __future__ import annotations

from agent.pods.status.drift import find_drift
from kubeapi.meta import Condition
from kubeapi.pod import ContainerStatus, PodStatus

READY = Condition(type="Ready", status="True", last_transition_time="2026-01-02T03:04:05Z")
SILENT = Condition(type="Ready", status="False", reason="NodeNotReady")
GATE = Condition(type="example.com/gate", status="True")
RUNNING = ContainerStatus(name="main", container_id="containerd://1", ready=True)


def test_equal_but_for_times_and_others_conditions_is_no_drift() -> None:
    written = PodStatus(phase="Running", conditions=(READY,), container_statuses=(RUNNING,))
    shown = PodStatus(
        phase="Pending",
        conditions=(GATE, Condition(type="Ready", status="True")),
        container_statuses=(RUNNING,),
    )
    assert find_drift(written, shown) is None


def test_a_condition_of_ours_drifts_and_those_of_others_stay_as_written() -> None:
    shown = PodStatus(conditions=(GATE, SILENT))
    assert find_drift(PodStatus(phase="Running", conditions=(READY,)), shown) == PodStatus(
        phase="Running", conditions=(SILENT,)
    )


def test_a_container_status_drifts() -> None:
    written = PodStatus(container_statuses=(RUNNING,))
    shown = PodStatus(container_statuses=(ContainerStatus(name="main", container_id="containerd://1"),))
    assert find_drift(written, shown) == shown
    assert find_drift(written, PodStatus()) == PodStatus()
