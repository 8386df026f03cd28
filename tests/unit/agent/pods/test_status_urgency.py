"""Which changes of a status are told at once, and which are steps that may wait a moment."""

from __future__ import annotations

import msgspec
import pytest

from agent.pods.status.urgency import is_news
from kubeapi.meta import Condition
from kubeapi.pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodIP,
    PodStatus,
)
from tests import builders

POD = builders.pod()


def waiting(reason: str) -> ContainerStatus:
    return ContainerStatus(name="main", state=ContainerState(waiting=ContainerStateWaiting(reason=reason)))


def running(ready: bool) -> ContainerStatus:
    state = ContainerState(running=ContainerStateRunning(started_at="2026-01-02T03:04:05Z"))
    return ContainerStatus(
        name="main", state=state, ready=ready, container_id="containerd://c1", started=True
    )


def ended(exit_code: int) -> ContainerStatus:
    state = ContainerState(terminated=ContainerStateTerminated(exit_code=exit_code))
    return ContainerStatus(name="main", state=state)


def condition(type: str, status: str, reason: str = "") -> Condition:
    return Condition(type=type, status=status, reason=reason, last_transition_time="2026-01-02T03:04:05Z")


ASSIGNED = PodStatus(phase="Pending", conditions=(condition("PodScheduled", "True"),), qos_class="BestEffort")
CREATING = msgspec.structs.replace(
    ASSIGNED,
    conditions=(
        condition("PodScheduled", "True"),
        condition("Initialized", "True"),
        condition("Ready", "False", "ContainersNotReady"),
        condition("ContainersReady", "False", "ContainersNotReady"),
    ),
    container_statuses=(waiting("ContainerCreating"),),
    start_time="2026-01-02T03:04:05Z",
)
RUNNING = PodStatus(
    phase="Running",
    conditions=(condition("Ready", "True"),),
    container_statuses=(running(ready=True),),
)


@pytest.mark.parametrize(
    "wanted",
    [
        CREATING,
        msgspec.structs.replace(CREATING, pod_ip="10.0.0.7", pod_ips=(PodIP(ip="10.0.0.7"),)),
        msgspec.structs.replace(CREATING, init_container_statuses=(running(ready=False),)),
        msgspec.structs.replace(CREATING, init_container_statuses=(ended(0),)),
        msgspec.structs.replace(CREATING, container_statuses=(waiting("PodInitializing"),)),
        msgspec.structs.replace(CREATING, container_statuses=(running(ready=True), waiting(""))),
    ],
)
def test_a_step_of_a_start_is_no_news(wanted: PodStatus) -> None:
    assert not is_news(POD, ASSIGNED, wanted)
    assert not is_news(POD, PodStatus(), wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        RUNNING,
        msgspec.structs.replace(CREATING, phase="Failed", reason="OutOfcpu"),
        msgspec.structs.replace(CREATING, message="why"),
        msgspec.structs.replace(CREATING, container_statuses=(waiting("ErrImagePull"),)),
        msgspec.structs.replace(CREATING, container_statuses=(waiting("CrashLoopBackOff"),)),
        msgspec.structs.replace(CREATING, init_container_statuses=(ended(1),)),
        msgspec.structs.replace(CREATING, conditions=(condition("Ready", "True"),)),
        msgspec.structs.replace(CREATING, conditions=(condition("DisruptionTarget", "True"),)),
        msgspec.structs.replace(CREATING, ephemeral_container_statuses=(running(ready=False),)),
    ],
)
def test_all_else_is_news(wanted: PodStatus) -> None:
    assert is_news(POD, CREATING, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        msgspec.structs.replace(RUNNING, conditions=(condition("Ready", "False"),)),
        msgspec.structs.replace(RUNNING, container_statuses=(running(ready=False),)),
        msgspec.structs.replace(RUNNING, container_statuses=(ended(0),)),
        msgspec.structs.replace(RUNNING, observed_generation=2),
        msgspec.structs.replace(RUNNING, phase="Succeeded"),
    ],
)
def test_whatever_happens_to_a_running_pod_is_news(wanted: PodStatus) -> None:
    assert is_news(POD, RUNNING, wanted)


def test_of_a_pod_that_is_being_deleted_nothing_is_news() -> None:
    metadata = msgspec.structs.replace(POD.metadata, deletion_timestamp="2026-01-02T03:04:05Z")
    deleted = msgspec.structs.replace(POD, metadata=metadata)
    assert not is_news(deleted, RUNNING, msgspec.structs.replace(RUNNING, container_statuses=(ended(0),)))
