"""Whether a pod's new status is news, or a step on a way that goes on.

Pure. Called by `status.writer`, which holds steps back for a moment: most pods start within it, and then one
write says it all. Steps are what a starting pod passes through (addresses, images, init containers, the
conditions on the way to Ready), and everything of a pod that is being deleted, which has left the Services
already; whatever this doesn't know is news.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kubeapi.meta import Condition
from kubeapi.pod import ContainerState, ContainerStatus, Pod, PodStatus

HOLD_BACK_SECONDS: Final = 1.0

_STARTING_CONDITIONS: Final = frozenset(
    {"PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady"}
)
_STARTING_REASONS: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_STARTING_PHASES: Final = frozenset({"", "Pending"})


def is_news(pod: Pod, written: PodStatus, wanted: PodStatus) -> bool:
    """Whether people and controllers must hear of the difference at once."""
    if pod.metadata.deletion_timestamp is not None:
        return False
    return _without_steps(written) != _without_steps(wanted)


def _without_steps(status: PodStatus) -> PodStatus:
    """The status without what only says how far a start has come."""
    if status.phase not in _STARTING_PHASES:
        return status
    return msgspec.structs.replace(
        status,
        observed_generation=0,
        phase="",
        conditions=tuple(filter(None, map(_choose_condition, status.conditions))),
        host_ip="",
        host_ips=(),
        pod_ip="",
        pod_ips=(),
        start_time=None,
        qos_class="",
        init_container_statuses=_choose_containers(status.init_container_statuses),
        container_statuses=_choose_containers(status.container_statuses),
    )


def _choose_condition(condition: Condition) -> Condition | None:
    """What of a condition counts: of the pod's own way to Ready, only its end."""
    if condition.type in _STARTING_CONDITIONS:
        return None
    if condition.type == "Ready":
        return Condition(type="Ready", status="True") if condition.status == "True" else None
    return msgspec.structs.replace(condition, last_probe_time=None, last_transition_time=None)


def _choose_containers(statuses: tuple[ContainerStatus, ...]) -> tuple[ContainerStatus, ...]:
    chosen = map(_without_container_steps, statuses)
    return tuple(status for status in chosen if status != ContainerStatus(name=status.name))


def _without_container_steps(status: ContainerStatus) -> ContainerStatus:
    state = status.state
    waiting = state.waiting if state.waiting and state.waiting.reason not in _STARTING_REASONS else None
    failed = state.terminated if state.terminated and state.terminated.exit_code != 0 else None
    return ContainerStatus(
        name=status.name,
        state=ContainerState(waiting=waiting, terminated=failed),
        last_state=status.last_state,
        restart_count=status.restart_count,
    )
