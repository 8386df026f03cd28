"""The restart of a whole pod that a container's exit asks for: what ends, what starts, and what is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.pods.actions import (
    CreateContainer,
    EnsureImage,
    PrepareVolumes,
    RemoveContainer,
    RunPreStopHook,
    StopContainer,
)
from agent.pods.backoff import compute_next_backoff, compute_restart_time
from agent.pods.goal import PodGoal, compute_spec_hash
from agent.pods.lifecycle import is_pod_finished
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox, build_observed_pod
from agent.pods.outcomes import ImageEnsured, VolumesPrepared, note_success
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, SandboxID
from agent.pods.progress import InFlight, Progress
from agent.pods.restart_all import (
    compute_resume_time,
    count_pod_restarts,
    is_restarting,
    mark_superseded,
    may_restart_all,
)
from agent.pods.status.pod_status import NodeFacts, compute_pod_status
from agent.pods.waits import compute_waits
from agent.runtime.values import ContainerState
from kubeapi.meta import Condition
from kubeapi.pod import (
    ContainerRestartRule,
    ContainerRestartRuleExitCodes,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodStatus,
    SleepAction,
)
from tests import builders

NOW = 1000.0
HOOK = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=5)))
SANDBOX = ObservedSandbox(SandboxID("s0"), 0, True, 100.0, ("10.1.0.1",))


def rule(action: str, *codes: int, operator: str = "In") -> ContainerRestartRule:
    return ContainerRestartRule(
        action=action, exit_codes=ContainerRestartRuleExitCodes(operator=operator, values=codes)
    )


ALL = rule("RestartAllContainers", 42)


def build_pod(*rules: ContainerRestartRule, **changes: Any) -> Pod:
    """One init container, one sidecar, one app that asks, and another that never comes back by itself."""
    spec: dict[str, Any] = {
        "init_containers": (
            builders.container("setup"),
            builders.container("proxy", restart_policy="Always", lifecycle=HOOK),
        ),
        "containers": (
            builders.container("main", restart_policy="Never", restart_policy_rules=rules or (ALL,)),
            builders.container("other", lifecycle=HOOK),
        ),
        "restart_policy": "Never",
    }
    return msgspec.structs.replace(builders.pod(spec={**spec, **changes}), status=PodStatus())


def attempt(name: str, state: ContainerState, number: int = 0, **changes: Any) -> ObservedContainer:
    ended = state is ContainerState.EXITED
    good = ObservedContainer(
        id=ContainerID(f"{name}-{number}"),
        sandbox_id=SandboxID("s0"),
        name=name,
        attempt=number,
        state=state,
        created_at=900.0 + number,
        restart_count=number,
        pod_restarts=number,
        spec_hash=compute_spec_hash(builders.container(name)),
        started_at=None if state is ContainerState.CREATED else 901.0 + number,
        finished_at=990.0 if ended else None,
    )
    return replace(good, **changes)


def running(name: str, number: int = 0, **changes: Any) -> ObservedContainer:
    return attempt(name, ContainerState.RUNNING, number, **changes)


def exited(name: str, code: int, number: int = 0, **changes: Any) -> ObservedContainer:
    return attempt(name, ContainerState.EXITED, number, exit_code=code, **changes)


def observe(*containers: ObservedContainer) -> ObservedPod:
    return build_observed_pod((SANDBOX,), containers)


def ready_progress(*names: str) -> Progress:
    progress = note_success(Progress(), PrepareVolumes(), VolumesPrepared({}))
    for name in names:
        image = ImageEnsured(LocalImage("sha256:x", 0, ""))
        progress = note_success(progress, EnsureImage(name, 1), image)
    return progress


def plan(pod: Pod, observed: ObservedPod, progress: Progress | None = None, now: float = NOW) -> PodPlan:
    return plan_pod(PodGoal(pod), observed, progress or ready_progress("setup"), now)


ASKED = observe(exited("setup", 0), running("proxy"), exited("main", 42), running("other"))
ENDED = observe(exited("setup", 0), exited("proxy", 143), exited("main", 42), exited("other", 137))


@pytest.mark.parametrize(
    ("rules", "code", "asks"),
    [
        ((ALL,), 42, True),
        ((ALL,), 1, False),
        ((rule("RestartAllContainers", 0, operator="NotIn"),), 1, True),
        ((rule("Restart", 42), ALL), 42, False),
        ((ALL, rule("Restart", 42)), 42, True),
        ((rule("Dance", 42), ALL), 42, True),
        ((rule("Restart", 42),), 42, False),
        ((ContainerRestartRule(action="RestartAllContainers"),), 42, False),
    ],
)
def test_the_first_rule_that_matches_decides(
    rules: tuple[ContainerRestartRule, ...], code: int, asks: bool
) -> None:
    assert count_pod_restarts(build_pod(*rules), observe(exited("main", code))) == int(asks)


@pytest.mark.parametrize(
    ("containers", "restarts"),
    [
        ((running("main"),), 0),
        ((exited("main", 42),), 1),
        ((exited("main", 42), running("other", 1, pod_restarts=0)), 1),
        # An attempt that counts the restart was made: the same exit doesn't ask again.
        ((exited("main", 42), attempt("setup", ContainerState.CREATED, 1)), 1),
        ((exited("main", 42), exited("main", 42, 1)), 2),
        # It asked before its successor was made, which is of the same round.
        ((exited("main", 42), running("main", 1, pod_restarts=0)), 0),
        ((exited("main", 42, replaced=True),), 0),
        ((exited("main", 42, started_at=None, message="context canceled"),), 0),
        ((attempt("main", ContainerState.UNKNOWN, exit_code=42),), 0),
        ((exited("debugger", 42),), 0),
    ],
)
def test_restarts_are_counted_by_attempts_and_exits(
    containers: tuple[ObservedContainer, ...], restarts: int
) -> None:
    assert count_pod_restarts(build_pod(), observe(*containers)) == restarts


def test_pods_without_such_a_rule_are_left_alone() -> None:
    pod = build_pod(rule("Restart", 42))
    assert not may_restart_all(pod)
    assert mark_superseded(pod, ASKED) is ASKED
    assert may_restart_all(build_pod())


def test_at_first_everything_is_killed_without_hooks() -> None:
    found = plan(build_pod(), ASKED)
    stops = [each for each in found.actions if isinstance(each, StopContainer)]
    assert {stop.container for stop in stops} == {"other", "proxy"}
    assert {stop.kill_at for stop in stops} == {NOW + 2}
    assert "will be restarted" in stops[0].why
    assert not any(isinstance(each, RunPreStopHook | CreateContainer) for each in found.actions)


def test_what_was_made_and_never_started_goes() -> None:
    made = observe(exited("main", 42), attempt("other", ContainerState.CREATED))
    found = plan(build_pod(), made)
    assert RemoveContainer("other", ContainerID("other-0")) in found.actions
    assert not any(isinstance(each, CreateContainer | EnsureImage) for each in found.actions)


def test_a_hook_in_flight_is_given_up() -> None:
    call = InFlight("RunPostStartHook", 950.0)
    progress = replace(ready_progress(), in_flight={"container/other": call})
    assert plan(build_pod(), ASKED, progress).cancel == ("container/other",)


def test_then_the_init_containers_run_again_first() -> None:
    found = plan(build_pod(), ENDED)
    (made,) = [each for each in found.actions if isinstance(each, CreateContainer)]
    assert (made.container, made.attempt, made.restart_count, made.pod_restarts) == ("setup", 1, 1, 1)
    again = observe(*ENDED.containers, exited("setup", 0, 1))
    names = [each.container for each in plan(build_pod(), again).actions if isinstance(each, EnsureImage)]
    assert names == ["proxy"]


def test_the_back_off_of_the_one_that_asked_delays_the_start_of_all() -> None:
    crashed = tuple(
        replace(each, backoff_seconds=40.0) if each.name == "main" else each for each in ENDED.containers
    )
    waiting = mark_superseded(build_pod(), observe(*crashed))
    assert compute_resume_time(build_pod(), waiting) == 990.0 + 40
    found = plan(build_pod(), observe(*crashed))
    assert (found.next_look, [each for each in found.actions if isinstance(each, CreateContainer)]) == (
        1030.0,
        [],
    )
    assert any(
        isinstance(each, CreateContainer) for each in plan(build_pod(), observe(*crashed), now=1030.0).actions
    )


def test_only_the_one_that_asked_backs_off_longer_next_time() -> None:
    marked = mark_superseded(build_pod(), ENDED)
    main, other = marked.newest("main"), marked.newest("other")
    assert main is not None
    assert other is not None
    assert (compute_next_backoff(main), compute_next_backoff(other)) == (10.0, 0.0)
    assert compute_restart_time(replace(other, backoff_seconds=40.0)) == 990.0


def test_containers_that_had_ended_for_good_run_again_too() -> None:
    done = observe(exited("setup", 0), running("proxy"), exited("main", 42), exited("other", 0))
    assert not is_pod_finished(build_pod(), mark_superseded(build_pod(), done))


def test_an_init_container_that_fails_after_the_restart_fails_the_pod() -> None:
    failed = observe(*ENDED.containers, exited("setup", 1, 1))
    assert is_pod_finished(build_pod(), mark_superseded(build_pod(), failed))


def status_of(observed: ObservedPod, previous: PodStatus | None = None) -> PodStatus:
    facts = NodeFacts(("192.168.0.1",))
    known = previous or PodStatus()
    return compute_pod_status(PodGoal(build_pod()), observed, ready_progress(), known, facts, NOW)


def find_restarting(status: PodStatus) -> Condition:
    return next(each for each in status.conditions if each.type == "AllContainersRestarting")


def reasons(status: PodStatus) -> list[str]:
    found = []
    for each in (*status.init_container_statuses, *status.container_statuses):
        state = each.state.waiting or each.state.terminated
        found.append("running" if each.state.running else state.reason if state else "none")
    return found


def test_the_status_tells_of_the_restart_and_of_its_end() -> None:
    before = status_of(observe(exited("setup", 0), running("proxy"), running("main"), running("other")))
    assert find_restarting(before).status == "False"
    asked = status_of(ASKED, before)
    told = find_restarting(asked)
    assert (told.status, told.reason) == ("True", "RestartAllContainersStarted")
    assert told.message == "container exited with restart policy rule"
    assert reasons(asked) == ["RestartingAllContainers", "running", "RestartingAllContainers", "running"]
    begun = status_of(observe(*ENDED.containers, running("setup", 1)), asked)
    assert find_restarting(begun).status == "False"
    assert reasons(begun) == ["running", "PodInitializing", "PodInitializing", "PodInitializing"]
    main = begun.container_statuses[0]
    assert main.last_state.terminated is not None
    assert main.last_state.terminated.exit_code == 42
    assert [asked.phase, begun.phase] == ["Running", "Pending"]


def test_a_pod_without_such_a_rule_has_no_such_condition() -> None:
    goal = PodGoal(build_pod(rule("Restart", 42)))
    status = compute_pod_status(goal, ASKED, Progress(), PodStatus(), NodeFacts(("192.168.0.1",)), NOW)
    assert "AllContainersRestarting" not in {each.type for each in status.conditions}


def test_the_waits_tell_of_the_back_off() -> None:
    pod = build_pod(init_containers=())
    crashed = observe(exited("main", 42, backoff_seconds=40.0), exited("other", 137))
    found = compute_waits(PodGoal(pod), crashed, ready_progress(), plan(pod, crashed), NOW)
    assert [(wait.what, wait.reason) for wait in found] == [
        ("container main", "CrashLoopBackOff"),
        ("container other", "RestartingAllContainers"),
    ]
    assert is_restarting(pod, mark_superseded(pod, crashed))
