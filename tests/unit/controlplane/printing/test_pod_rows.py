"""The cells of pods: READY, STATUS and RESTARTS for every state that kubectl has a word for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.apiserver.printing import build_table

NOW = datetime(2026, 1, 1, 1, 0, 0, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
READY = [{"type": "Ready", "status": "True"}]
INITIALIZED = [{"type": "Initialized", "status": "True"}]


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(**facts: Any) -> dict[str, Any]:
    return {"terminated": facts}


def status(name: str = "a", state: Any = None, *, ready: bool = False, restarts: int = 0, **more: Any) -> Any:
    return {"name": name, "state": state or {}, "ready": ready, "restartCount": restarts, **more}


def pod(
    containers: int = 1, init: tuple[dict[str, Any], ...] = (), metadata: Any = None, **pod_status: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z", **(metadata or {})},
        "spec": {"containers": [{"name": str(n)} for n in range(containers)], "initContainers": list(init)},
        "status": pod_status,
    }


SIDECAR = {"name": "s", "restartPolicy": "Always"}
SETUP = {"name": "i"}
DELETED = {"deletionTimestamp": "2026-01-01T00:59:00Z"}
LAST: dict[str, Any] = {"lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:55:00Z"}}}

CASES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("just made", pod(phase="Pending"), "0/1", "Pending", "0"),
    ("gated", pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]),
     "0/1", "SchedulingGated", "0"),
    ("being made", pod(phase="Pending", containerStatuses=[status(state=waiting("ContainerCreating"))]),
     "0/1", "ContainerCreating", "0"),
    ("running", pod(phase="Running", containerStatuses=[status(state=RUNNING, ready=True)]), "1/1",
     "Running", "0"),
    ("one of two ready", pod(2, phase="Running", containerStatuses=[
        status("a", RUNNING, ready=True), status("b", RUNNING)]), "1/2", "Running", "0"),
    ("image can't be pulled", pod(phase="Pending",
     containerStatuses=[status(state=waiting("ImagePullBackOff"))]),
     "0/1", "ImagePullBackOff", "0"),
    ("crashing", pod(phase="Running", containerStatuses=[status(state=waiting("CrashLoopBackOff"),
     restarts=3, **LAST)]),
     "0/1", "CrashLoopBackOff", "3 (5m ago)"),
    ("the first container's trouble wins", pod(2, phase="Running", containerStatuses=[
        status("a", waiting("ErrImagePull")), status("b", waiting("CrashLoopBackOff"))]), "0/2",
        "ErrImagePull", "0"),
    ("done", pod(phase="Succeeded", containerStatuses=[status(state=ended(exitCode=0, reason="Completed"))]),
     "0/1", "Completed", "0"),
    ("failed", pod(phase="Failed", containerStatuses=[status(state=ended(exitCode=1, reason="Error"))]),
     "0/1", "Error", "0"),
    ("killed for memory", pod(phase="Failed", containerStatuses=[status(state=ended(exitCode=137,
     reason="OOMKilled"))]),
     "0/1", "OOMKilled", "0"),
    ("ended without a reason", pod(phase="Failed", containerStatuses=[status(state=ended(exitCode=7))]),
     "0/1", "ExitCode:7", "0"),
    ("ended by a signal", pod(phase="Failed", containerStatuses=[status(state=ended(exitCode=1, signal=9))]),
     "0/1", "Signal:9", "0"),
    ("evicted", pod(phase="Failed", reason="Evicted"), "0/1", "Evicted", "0"),
    ("one done, one running, ready", pod(2, phase="Running", conditions=READY, containerStatuses=[
        status("a", ended(exitCode=0, reason="Completed")), status("b", RUNNING, ready=True)]), "1/2",
        "Running", "0"),
    ("one done, one running, not ready", pod(2, phase="Running", containerStatuses=[
        status("a", ended(exitCode=0, reason="Completed")), status("b", RUNNING, ready=True)]), "1/2",
        "NotReady", "0"),
    ("going", pod(metadata=DELETED, phase="Running", containerStatuses=[status(state=RUNNING, ready=True)]),
     "1/1", "Terminating", "0"),
    ("going, but done", pod(metadata=DELETED, phase="Succeeded", containerStatuses=[
        status(state=ended(exitCode=0, reason="Completed"))]), "0/1", "Completed", "0"),
    ("going on a lost node", pod(metadata=DELETED, phase="Running", reason="NodeLost"), "0/1", "Unknown",
     "0"),
    ("first init container waits", pod(init=(SETUP, {"name": "j"}), phase="Pending", initContainerStatuses=[
        status("i", waiting("PodInitializing")), status("j", waiting("PodInitializing"))]), "0/1",
        "Init:0/2", "0"),
    ("second init container runs", pod(init=(SETUP, {"name": "j"}), phase="Pending", initContainerStatuses=[
        status("i", ended(exitCode=0, reason="Completed")), status("j", RUNNING)]), "0/1", "Init:1/2", "0"),
    ("init container crashes", pod(init=(SETUP,), phase="Pending", initContainerStatuses=[
        status("i", waiting("CrashLoopBackOff"), restarts=2, **LAST)]), "0/1", "Init:CrashLoopBackOff",
        "2 (5m ago)"),
    ("init container failed", pod(init=(SETUP,), phase="Pending", initContainerStatuses=[
        status("i", ended(exitCode=1, reason="Error"))]), "0/1", "Init:Error", "0"),
    ("init container ended without a reason", pod(init=(SETUP,), phase="Pending", initContainerStatuses=[
        status("i", ended(exitCode=3))]), "0/1", "Init:ExitCode:3", "0"),
    ("init containers done", pod(init=(SETUP,), phase="Pending", initContainerStatuses=[
        status("i", ended(exitCode=0, reason="Completed"), restarts=4)],
        containerStatuses=[status(state=waiting("PodInitializing"))]), "0/1", "PodInitializing", "0"),
    ("a sidecar counts", pod(init=(SIDECAR,), phase="Running", initContainerStatuses=[
        status("s", RUNNING, ready=True, started=True, restarts=1)],
        containerStatuses=[status(state=RUNNING, ready=True)]), "2/2", "Running", "1"),
    ("a sidecar is starting", pod(init=(SIDECAR,), phase="Pending", initContainerStatuses=[
        status("s", RUNNING, started=False)]), "0/2", "Init:0/1", "0"),
    ("a sidecar failed after the start", pod(init=(SIDECAR,), phase="Running", conditions=INITIALIZED,
        initContainerStatuses=[status("s", waiting("CrashLoopBackOff"), started=False)],
        containerStatuses=[status(state=RUNNING, ready=True)]), "1/2", "Init:CrashLoopBackOff", "0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "ready", "reason", "restarts"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_pod_row(document: dict[str, Any], ready: str, reason: str, restarts: str) -> None:
    (row,) = build_table("Pod", [document], NOW, "None")["rows"]
    assert row["cells"][:5] == ["p", ready, reason, restarts, "60m"]


def test_wide_cells() -> None:
    document = pod(
        phase="Running",
        podIP="10.244.0.5",
        nominatedNodeName="n2",
        conditions=[{"type": "example.com/a", "status": "True"}],
    )
    document["spec"]["nodeName"] = "n1"
    document["spec"]["readinessGates"] = [{"conditionType": "example.com/a"}, {"conditionType": "b"}]
    (row,) = build_table("Pod", [document], NOW, "None")["rows"]
    assert row["cells"][5:] == ["10.244.0.5", "n1", "n2", "1/2"]


def test_wide_cells_of_an_unbound_pod() -> None:
    (row,) = build_table("Pod", [pod(phase="Pending")], NOW, "None")["rows"]
    assert row["cells"][5:] == ["<none>", "<none>", "<none>", "<none>"]


@pytest.mark.parametrize(("phase", "count"), [("Succeeded", 1), ("Failed", 1), ("Running", 0)])
def test_a_finished_pods_row_says_so(phase: str, count: int) -> None:
    (row,) = build_table("Pod", [pod(phase=phase)], NOW)["rows"]
    assert [condition["reason"] for condition in row.get("conditions", ())] == [phase] * count
