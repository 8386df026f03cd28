"""What a pod waits for now, and why: every state in which something isn't as wanted yet, as values.

Pure. Called by the pod's lane after each look; the journal keeps the newest ones for `berth explain pod`.
Reasons are those that the kubelet shows for the same situation, where it has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.pods.backoff import compute_restart_time
from agent.pods.goal import Ending, PodGoal, Termination, is_sidecar
from agent.pods.lifecycle import (
    find_current_sandbox,
    has_started_apps,
    is_init_done,
    is_pod_finished,
    should_restart,
)
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.overdue import describe_call, format_instant
from agent.pods.plan import PodPlan
from agent.pods.progress import Failure, InFlight, Progress
from agent.pods.restart_all import is_restarting, mark_superseded
from agent.pods.status.container_status import format_delay
from agent.pods.stop_plan import compute_leave_until
from kubeapi.meta import parse_time
from kubeapi.pod import Container, Pod, Probe

_CREATING: Final = "ContainerCreating"
_INITIALIZING: Final = "PodInitializing"
_TERMINATING: Final = "Terminating"


@dataclass(frozen=True, slots=True)
class CallInFlight:
    """A call that hasn't returned; `since` in seconds since the epoch."""

    name: str
    since: float


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that isn't as wanted yet; times in seconds since the epoch.

    `what`: `container web`, `volumes`, `sandbox`, `pod`, … `next_retry`: when it is tried or looked at again
    even if nothing happens, where that is known.
    """

    what: str
    reason: str
    message: str
    since: float
    next_retry: float | None = None
    call: CallInFlight | None = None


def compute_waits(
    goal: PodGoal, observed: ObservedPod, progress: Progress, plan: PodPlan, now: float
) -> tuple[Wait, ...]:
    """Everything the pod waits for; nothing when it is as wanted, or gone."""
    if plan.finished:
        return ()
    return (
        *_list_refusals(goal),
        *_list_unreadable(progress, now),
        *_list_calls(progress, plan),
        *_list_states(goal, mark_superseded(goal.pod, observed), progress, plan, now),
    )


# --- calls in flight and calls that failed ------------------------------------------------------------------

_REASONS: Final = MappingProxyType(
    {
        "PrepareVolumes": _CREATING,
        "RunPodSandbox": _CREATING,
        "EnsureImage": _CREATING,
        "CreateContainer": _CREATING,
        "StartContainer": _CREATING,
        "RunPostStartHook": "PostStartHook",
        "RunPreStopHook": "Killing",
        "StopContainer": "Killing",
    }
)
_START_ACTIONS: Final = frozenset(
    {"PrepareVolumes", "RefreshVolumes", "RunPodSandbox", "EnsureImage", "CreateContainer", "StartContainer"}
)
_PARTS: Final = MappingProxyType({"api": "API object", "files": "pod files"})


def _list_calls(progress: Progress, plan: PodPlan) -> Iterator[Wait]:
    failures = _choose_failures(progress, plan)
    for key in dict.fromkeys((*progress.in_flight, *failures)):
        yield _explain_call(key, failures.get(key), progress.in_flight.get(key))


def _choose_failures(progress: Progress, plan: PodPlan) -> dict[str, Failure]:
    """The newest failure of each key that is waited out or tried again; what isn't wanted any more keeps
    nobody waiting.
    """
    chosen: dict[str, Failure] = {}
    for name, failure in progress.failures.items():
        action, _, key = name.partition(":")
        call = progress.in_flight.get(key)
        tried_again = call is not None and call.what == action
        if name not in plan.held and not tried_again:
            continue
        if key not in chosen or chosen[key].since < failure.since:
            chosen[key] = failure
    return chosen


def _explain_call(key: str, failure: Failure | None, call: InFlight | None) -> Wait:
    what = f"container {key.removeprefix('container/')}" if key.startswith("container/") else _name_part(key)
    in_flight = CallInFlight(describe_call(call), call.since) if call is not None else None
    if failure is not None:
        message = call.overdue if call is not None and call.overdue else failure.message
        since = failure.first_at if failure.first_at is not None else failure.since
        return Wait(what, failure.reason, message, since, None if call else failure.retry_at, in_flight)
    assert call is not None
    reason = _REASONS.get(call.what, _TERMINATING if call.what not in _START_ACTIONS else call.what)
    return Wait(what, reason, call.overdue or _describe_progress(call), call.since, call.kill_at, in_flight)


def _name_part(key: str) -> str:
    return _PARTS.get(key, key)


def _describe_progress(call: InFlight) -> str:
    match call.what:
        case "PrepareVolumes" | "RefreshVolumes":
            return f"the volumes are being filled: {call.target}" if call.target else "nothing to mount"
        case "RunPodSandbox":
            return "the sandbox and its network are being made"
        case "EnsureImage":
            return f"{call.target} is looked up, and pulled if need be"
        case "RunPreStopHook":
            return "its preStop hook runs"
        case "RunPostStartHook":
            return "its postStart hook runs; it isn't started before that ends"
        case "StopContainer" if call.kill_at is not None:
            return f"it was told to stop; SIGKILL at {format_instant(call.kill_at)}"
        case "DeletePod":
            return "its final status is written, then its object deleted"
        case _:
            return f"{describe_call(call)} is in flight"


# --- states that no call stands for -------------------------------------------------------------------------


def _list_refusals(goal: PodGoal) -> Iterator[Wait]:
    termination = goal.termination
    if termination is not None and termination.ending is Ending.FAILED and termination.reason:
        yield Wait("pod", termination.reason, termination.message, termination.since)


def _list_unreadable(progress: Progress, now: float) -> Iterator[Wait]:
    if progress.unreadable:
        yield Wait("runtime", "FailedSync", progress.unreadable, progress.unreadable_since or now)


def _list_states(
    goal: PodGoal, observed: ObservedPod, progress: Progress, plan: PodPlan, now: float
) -> Iterator[Wait]:
    if goal.termination is not None:
        yield from _list_termination(goal.termination, observed, progress, now)
        return
    if is_pod_finished(goal.pod, observed):
        return
    sandbox = find_current_sandbox(goal.pod, observed)
    began = goal.start_time or now
    if not progress.volumes_ready and not _is_told(progress, plan, "volumes"):
        yield Wait("volumes", _CREATING, "the volumes are next", began)
    if sandbox is None:
        if not progress.turn.granted:
            yield Wait(
                "sandbox", _CREATING, progress.turn.message, progress.turn.since, progress.turn.ask_again_at
            )
        elif not _is_told(progress, plan, "sandbox"):
            yield Wait("sandbox", _CREATING, "a new sandbox is made once nothing of an older one runs", began)
        return
    for container in (*goal.pod.spec.init_containers, *goal.pod.spec.containers):
        told = _is_told(progress, plan, f"container/{container.name}")
        wait = _explain_container(goal.pod, container, observed, progress, sandbox, now, told=told)
        if wait is not None:
            yield wait
    yield from _list_gates(goal.pod, began)


def _is_told(progress: Progress, plan: PodPlan, key: str) -> bool:
    """Whether a call in flight, or one that failed, already says it."""
    return key in progress.in_flight or any(name.endswith(f":{key}") for name in plan.held)


def _explain_container(
    pod: Pod,
    container: Container,
    observed: ObservedPod,
    progress: Progress,
    sandbox: ObservedSandbox,
    now: float,
    *,
    told: bool,
) -> Wait | None:
    what = f"container {container.name}"
    newest = observed.newest_in(sandbox.id, container.name)
    if newest is not None and newest.running:
        return None if told else _explain_running(pod, container, newest, progress)
    if newest is not None and newest.dead:
        wait = _explain_exit(pod, container, newest, now)
        if wait is not None or not newest.superseded:
            return wait
    blocker = _find_blocking_init(pod, container, observed, progress, sandbox)
    if blocker is not None:
        message = f"it waits for the init container {blocker}"
        return Wait(what, _INITIALIZING, message, sandbox.created_at)
    if told:
        return None
    if is_restarting(pod, observed):
        message = "it starts again once every container of the pod has ended and its back-off is over"
        return Wait(what, "RestartingAllContainers", message, sandbox.created_at)
    message = "it is next" if progress.volumes_ready else "it waits for the pod's volumes"
    return Wait(what, _CREATING, message, sandbox.created_at)


def _find_blocking_init(
    pod: Pod, container: Container, observed: ObservedPod, progress: Progress, sandbox: ObservedSandbox
) -> str | None:
    """The first init container that must be done before this one; containers of a pod whose apps have begun
    wait for none.
    """
    if has_started_apps(pod, observed, sandbox):
        return None
    for init in pod.spec.init_containers:
        if init.name == container.name:
            return None
        if not is_init_done(init, observed, sandbox, progress):
            return init.name
    return None


def _explain_running(
    pod: Pod, container: Container, running: ObservedContainer, progress: Progress
) -> Wait | None:
    what, since = f"container {container.name}", running.started_at or running.created_at
    verdict = progress.verdict(running.id)
    hook = container.lifecycle.post_start if container.lifecycle else None
    if _is_plain_init(pod, container):
        return Wait(what, _INITIALIZING, "it runs; what comes next waits for its end", since)
    if hook is not None and running.id not in progress.post_started:
        return Wait(what, "PostStartHook", "its postStart hook is next", since)
    if not verdict.started:
        message = _describe_probe("startup", container.startup_probe, verdict.message)
        return Wait(what, "Unstarted", message, since)
    if not verdict.ready:
        message = _describe_probe("readiness", container.readiness_probe, verdict.message)
        return Wait(what, "ContainersNotReady", message, since)
    return None


def _is_plain_init(pod: Pod, container: Container) -> bool:
    return not is_sidecar(container) and any(init.name == container.name for init in pod.spec.init_containers)


def _describe_probe(kind: str, probe: Probe | None, said: str) -> str:
    """Without what a command printed, which is the container's own affair."""
    if not said:
        return f"its {kind} probe has not passed yet"
    if probe is not None and probe.exec is not None:
        return f"the command of its {kind} probe does not succeed"
    return said


def _explain_exit(pod: Pod, container: Container, exited: ObservedContainer, now: float) -> Wait | None:
    restart_at = compute_restart_time(exited)
    if now >= restart_at or not should_restart(pod, container, exited):
        return None
    ended = exited.finished_at or exited.created_at
    message = f"back-off {format_delay(exited.backoff_seconds)} restarting failed container {container.name}"
    message += f", which ended with exit code {exited.exit_code}"
    return Wait(f"container {container.name}", "CrashLoopBackOff", message, ended, restart_at)


def _list_gates(pod: Pod, began: float) -> Iterator[Wait]:
    conditions = {condition.type: condition for condition in pod.status.conditions}
    ready = conditions.get("ContainersReady")
    if ready is None or ready.status != "True":
        return
    since = parse_time(ready.last_transition_time).timestamp() if ready.last_transition_time else began
    for gate in pod.spec.readiness_gates:
        condition = conditions.get(gate.condition_type)
        if condition is None or condition.status != "True":
            message = f'the status of pod readiness gate "{gate.condition_type}" is not "True"'
            yield Wait("pod", "ReadinessGatesNotReady", message, since)


def _list_termination(
    termination: Termination, observed: ObservedPod, progress: Progress, now: float
) -> Iterator[Wait]:
    """What the end waits for, where no call in flight says so already."""
    alive = [container.name for container in observed.containers if container.running]
    leave_until = compute_leave_until(termination)
    if alive and not progress.released and now < leave_until:
        message = "Services of this node still send it clients; its containers are told to stop after that"
        yield Wait("pod", _TERMINATING, message, termination.since, leave_until)
    elif alive:
        told = [name for name in alive if f"container/{name}" in progress.in_flight]
        later = [name for name in alive if name not in told]
        if later:
            after = f" after {', '.join(told)}" if told else ""
            message = f"still to be stopped{after}: {', '.join(later)}"
            yield Wait("pod", _TERMINATING, message, termination.since, termination.kill_at)
    elif not progress.in_flight and termination.ending is not Ending.FAILED:
        yield Wait("pod", _TERMINATING, "what is left of it is being removed", termination.since)
