"""The conditions of a pod, from its containers' statuses.

Pure. Called by `status`. Conditions that others set stay as they are; DisruptionTarget has several authors.
Follows the "Pod conditions" section of the Pod lifecycle page; reasons and messages are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.pods.goal import is_sidecar
from kubeapi.meta import Condition
from kubeapi.pod import ContainerStatus, Pod

READY_TO_START: Final = "PodReadyToStartContainers"
DISRUPTION_TARGET: Final = "DisruptionTarget"
RESIZE_PENDING: Final = "PodResizePending"
RESIZE_IN_PROGRESS: Final = "PodResizeInProgress"
ALL_RESTARTING: Final = "AllContainersRestarting"
TRANSIENT_TYPES: Final = frozenset({RESIZE_PENDING, RESIZE_IN_PROGRESS})
"""Conditions that are there only while they are true."""
OWN_TYPES: Final = (
    READY_TO_START,
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    RESIZE_PENDING,
    RESIZE_IN_PROGRESS,
    ALL_RESTARTING,
)


def compute_conditions(
    pod: Pod,
    phase: str,
    sandbox_ready: bool,
    init_statuses: tuple[ContainerStatus, ...],
    statuses: tuple[ContainerStatus, ...],
    previous: tuple[Condition, ...],
    now: str,
    restarting: bool | None = None,
) -> tuple[Condition, ...]:
    """All conditions of the pod; a transition time changes only with the condition's status.

    `restarting`: whether all containers are restarted in place, None for a pod where that can't be.
    """
    containers_ready = _compute_containers_ready(pod, phase, init_statuses, statuses)
    fresh = (
        Condition(type=READY_TO_START, status=_truth(sandbox_ready)),
        _compute_initialized(pod, phase, init_statuses, statuses),
        _compute_ready(pod, containers_ready, previous),
        containers_ready,
        Condition(type="PodScheduled", status="True"),
        *(() if restarting is None else (_compute_restarting(phase, restarting=restarting),)),
    )
    before = {condition.type: condition for condition in previous}
    generation = pod.metadata.generation
    own = (_settle(condition, before.get(condition.type), generation, now) for condition in fresh)
    return (*own, *(condition for condition in previous if condition.type not in OWN_TYPES))


def add_disruption(
    conditions: tuple[Condition, ...], message: str, generation: int, now: str
) -> tuple[Condition, ...]:
    """With DisruptionTarget, which says that the node ends the pod for its own reasons: what counts failures
    of Jobs doesn't count this one.
    """
    others = tuple(condition for condition in conditions if condition.type != DISRUPTION_TARGET)
    before = next((condition for condition in conditions if condition.type == DISRUPTION_TARGET), None)
    reason = "TerminationByKubelet"
    fresh = Condition(type=DISRUPTION_TARGET, status="True", reason=reason, message=message)
    return (*others, _settle(fresh, before, generation, now))


def _settle(condition: Condition, previous: Condition | None, generation: int, now: str) -> Condition:
    same = previous is not None and previous.status == condition.status
    return Condition(
        type=condition.type,
        status=condition.status,
        observed_generation=generation or None,
        reason=condition.reason,
        message=condition.message,
        last_transition_time=previous.last_transition_time if previous and same else now,
    )


def _compute_initialized(
    pod: Pod, phase: str, init_statuses: tuple[ContainerStatus, ...], statuses: tuple[ContainerStatus, ...]
) -> Condition:
    if phase == "Succeeded":
        return Condition(type="Initialized", status="True", reason="PodCompleted")
    # Once an app container ran, initialization is a thing of the past, whatever is left of it.
    if any(status.state.running or status.restart_count for status in statuses):
        return Condition(type="Initialized", status="True")
    sidecars = {init.name for init in pod.spec.init_containers if is_sidecar(init)}
    missing = [
        status.name
        for status in init_statuses
        if not (status.started if status.name in sidecars else status.ready)
    ]
    if not missing:
        return Condition(type="Initialized", status="True")
    message = f"containers with incomplete status: {_list_names(missing)}"
    return Condition(type="Initialized", status="False", reason="ContainersNotInitialized", message=message)


def _compute_containers_ready(
    pod: Pod, phase: str, init_statuses: tuple[ContainerStatus, ...], statuses: tuple[ContainerStatus, ...]
) -> Condition:
    if phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        return Condition(type="ContainersReady", status="False", reason=reason)
    sidecars = {init.name for init in pod.spec.init_containers if is_sidecar(init)}
    counted = (*(status for status in init_statuses if status.name in sidecars), *statuses)
    unready = [status.name for status in counted if not status.ready]
    if not unready:
        return Condition(type="ContainersReady", status="True")
    message = f"containers with unready status: {_list_names(unready)}"
    return Condition(type="ContainersReady", status="False", reason="ContainersNotReady", message=message)


def _compute_ready(pod: Pod, containers_ready: Condition, previous: tuple[Condition, ...]) -> Condition:
    if containers_ready.status != "True":
        return Condition(
            type="Ready", status="False", reason=containers_ready.reason, message=containers_ready.message
        )
    true_types = {condition.type for condition in previous if condition.status == "True"}
    gates = [gate.condition_type for gate in pod.spec.readiness_gates]
    closed = [gate for gate in gates if gate not in true_types]
    if not closed:
        return Condition(type="Ready", status="True")
    message = "; ".join(f'the status of pod readiness gate "{gate}" is not "True"' for gate in closed)
    return Condition(type="Ready", status="False", reason="ReadinessGatesNotReady", message=message)


def _compute_restarting(phase: str, *, restarting: bool) -> Condition:
    if phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        return Condition(type=ALL_RESTARTING, status="False", reason=reason)
    if not restarting:
        return Condition(type=ALL_RESTARTING, status="False")
    message = "container exited with restart policy rule"
    return Condition(
        type=ALL_RESTARTING, status="True", reason="RestartAllContainersStarted", message=message
    )


def _truth(value: bool) -> str:
    return "True" if value else "False"


def _list_names(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"
