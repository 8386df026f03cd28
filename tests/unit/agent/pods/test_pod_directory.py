"""What the log and exec endpoints may know of a container: which of its attempts is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.pods.lanes.directory import build_handle
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import ContainerState
from kubeapi.pod import ContainerState as ApiContainerState
from kubeapi.pod import ContainerStateTerminated, ContainerStatus, Pod
from tests import builders

LOGS = Path("/logs")


def attempt(number: int, state: ContainerState) -> ObservedContainer:
    return ObservedContainer(
        id=ContainerID(f"c{number}"),
        sandbox_id=SandboxID("s0"),
        name="web",
        attempt=number,
        restart_count=number,
        state=state,
        created_at=900.0 + number,
    )


def pod_with_last_state(container_id: str) -> Pod:
    terminated = ContainerStateTerminated(container_id=f"containerd://{container_id}" if container_id else "")
    last_state = ApiContainerState(terminated=terminated if container_id else None)
    return builders.pod(status={"container_statuses": (ContainerStatus(name="web", last_state=last_state),)})


EXITED, RUNNING, CREATED = ContainerState.EXITED, ContainerState.RUNNING, ContainerState.CREATED


@pytest.mark.parametrize(
    ("attempts", "last_state", "newest", "previous"),
    [
        ((attempt(0, RUNNING),), "", "c0", None),
        ((attempt(1, RUNNING), attempt(0, EXITED)), "c0", "c1", "c0"),
        ((attempt(1, EXITED), attempt(0, EXITED)), "c0", "c1", "c0"),
        ((attempt(1, EXITED),), "c1", "c1", "c1"),
        ((attempt(1, CREATED), attempt(0, EXITED)), "c0", "c0", "c0"),
        ((attempt(1, RUNNING),), "c0", "c1", None),
        ((), "", None, None),
    ],
    ids=[
        "first run",
        "running again",
        "exited for good, the one before is shown",
        "waiting for its restart",
        "made, not started",
        "the last one is removed",
        "nothing yet",
    ],
)
def test_newest_and_previous_are_those_that_the_status_shows(
    attempts: tuple[ObservedContainer, ...], last_state: str, newest: str | None, previous: str | None
) -> None:
    pod, observed = pod_with_last_state(last_state), ObservedPod((), attempts)

    found = [build_handle(pod, observed, "web", back, LOGS) for back in (False, True)]

    assert [handle and handle.container_id for handle in found] == [newest, previous]


def test_no_name_means_the_first_container_and_its_log_lies_by_restart_count() -> None:
    handle = build_handle(builders.pod(), ObservedPod((), (attempt(2, RUNNING),)), "", False, LOGS)

    assert handle is not None
    assert handle.log_path == LOGS / "web" / "2.log"
