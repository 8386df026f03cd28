"""What the API is told of a pod's resources: conditions, container statuses and events of a resize.

Pure. Called by `status` and the lanes. The two conditions exist only while they are true: PodResizePending
while the node doesn't give what is wanted, PodResizeInProgress until what it gave is with the kernel. Follows
KEP-1287 as of Kubernetes 1.35; names and messages are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from agent.pods.goal import PodGoal
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.pod_events import PodEvent
from agent.pods.progress import Progress
from agent.pods.resize.plan import find_actuated
from agent.pods.resize.wish import list_resizable, with_resources
from agent.pods.status.conditions import RESIZE_IN_PROGRESS, RESIZE_PENDING
from agent.resources.pod_limits import CPU_PERIOD_MICROSECONDS
from agent.resources.qos import compute_cpu_quota
from agent.resources.requests import read_amount
from kubeapi.meta import Condition, QuantityText
from kubeapi.pod import Container, ContainerStatus, Pod, PodStatus, ResourceRequirements

_ERROR: Final = "Error"


def compute_resize_conditions(
    goal: PodGoal, progress: Progress, previous: tuple[Condition, ...], now: str
) -> tuple[Condition, ...]:
    """Of the two conditions, those that hold."""
    if goal.termination is not None:
        return ()
    before = {condition.type: condition for condition in previous}
    fresh = (_compute_pending(goal), _compute_in_progress(goal, progress, before.get(RESIZE_IN_PROGRESS)))
    return tuple(
        msgspec.structs.replace(each, last_transition_time=_choose_time(before.get(each.type), now))
        for each in fresh
        if each is not None
    )


def _compute_pending(goal: PodGoal) -> Condition | None:
    resources = goal.resources
    if not resources.reason:
        return None
    return Condition(
        type=RESIZE_PENDING,
        status="True",
        reason=resources.reason,
        message=resources.message,
        observed_generation=goal.pod.metadata.generation or None,
    )


def _compute_in_progress(goal: PodGoal, progress: Progress, before: Condition | None) -> Condition | None:
    if not goal.resources.in_progress:
        return None
    message = find_resize_error(goal.pod, progress)
    generation = before.observed_generation if before is not None else goal.pod.metadata.generation
    return Condition(
        type=RESIZE_IN_PROGRESS,
        status="True",
        reason=_ERROR if message else "",
        message=message,
        observed_generation=generation or None,
    )


def _choose_time(before: Condition | None, now: str) -> str | None:
    return before.last_transition_time if before is not None else now


def find_resize_error(pod: Pod, progress: Progress) -> str:
    """Why the kernel doesn't have the allocated resources yet, if a try failed."""
    keys = [f"UpdateContainerResources:container/{each.name}" for each in list_resizable(pod)]
    failures = (progress.failures.get(key) for key in ("UpdatePodCgroup:files", *keys))
    return "; ".join(failure.message for failure in failures if failure is not None)


# --- containers ---------------------------------------------------------------------------------------------


def add_resources(
    goal: PodGoal, observed: ObservedPod, container: Container, status: ContainerStatus
) -> ContainerStatus:
    """The status with what is allocated to the container, and what it has."""
    newest = observed.newest(container.name)
    resources = container.resources
    if newest is not None and newest.running:
        resources = _read_running(goal, container, newest)
    return msgspec.structs.replace(
        status, allocated_resources=container.resources.requests, resources=resources
    )


def _read_running(goal: PodGoal, container: Container, running: ObservedContainer) -> ResourceRequirements:
    """As it was last given; limits that the runtime shows otherwise are as the runtime shows them."""
    actuated = find_actuated(goal, running) or container.resources
    reported = running.reported
    if reported is None:
        return actuated
    limits: dict[str, QuantityText] = dict(actuated.limits)
    memory = reported.memory_limit_bytes
    if memory > 0 and memory != read_amount(limits, "memory"):
        limits["memory"] = str(memory)
    period = reported.cpu_period or CPU_PERIOD_MICROSECONDS
    quota = reported.cpu_quota
    if quota > 0 and quota != compute_cpu_quota(read_amount(limits, "cpu"), period):
        limits["cpu"] = f"{quota * 1000 // period}m"
    return ResourceRequirements(limits=limits, requests=actuated.requests)


# --- events -------------------------------------------------------------------------------------------------


def describe_resize(goal: PodGoal, old: PodStatus, new: PodStatus) -> Iterator[PodEvent]:
    """One for each step of a resize that `new` shows and `old` doesn't."""
    pending, was_pending = _find(new, RESIZE_PENDING), _find(old, RESIZE_PENDING)
    if pending is not None and _step(pending) != _step(was_pending):
        wanted = with_resources(goal.pod, goal.resources.wanted)
        text = _describe(wanted, pending.observed_generation, pending.message)
        yield PodEvent(f"Resize{pending.reason}", f"Pod resize {pending.reason}: {text}", warning=True)
    begun, was_begun = _find(new, RESIZE_IN_PROGRESS), _find(old, RESIZE_IN_PROGRESS)
    if begun is not None and was_begun is None:
        text = _describe(goal.pod, begun.observed_generation)
        yield PodEvent("ResizeStarted", f"Pod resize started: {text}")
    if begun is not None and begun.reason == _ERROR and (was_begun is None or was_begun.reason != _ERROR):
        text = _describe(goal.pod, begun.observed_generation, begun.message)
        yield PodEvent("ResizeError", f"Pod resize error: {text}", warning=True)
    if begun is None and was_begun is not None and goal.termination is None:
        text = _describe(goal.pod, was_begun.observed_generation)
        yield PodEvent("ResizeCompleted", f"Pod resize completed: {text}")


def _find(status: PodStatus, type_: str) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == type_), None)


def _step(condition: Condition | None) -> tuple[str, int | None] | None:
    """A deferral whose message follows the node's use is still the same step."""
    return None if condition is None else (condition.reason, condition.observed_generation)


def _describe(pod: Pod, generation: int | None, error: str = "") -> str:
    """The resources as JSON, in the kubelet's shape."""
    containers = [
        {"name": each.name, "resources": msgspec.to_builtins(each.resources)} for each in list_resizable(pod)
    ]
    document: Mapping[str, Any] = {"containers": containers, "generation": generation or 0}
    return msgspec.json.encode({**document, "error": error} if error else document).decode()
