"""Which exits are followed by another attempt: the container's rules, its policy, the pod's policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.pods.backoff import compute_next_backoff, compute_restart_time
from agent.pods.lifecycle import is_pod_finished, should_restart
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ContainerRestartRule, ContainerRestartRuleExitCodes, Pod, PodStatus
from tests import builders


def rule(operator: str, *values: int, action: str = "Restart") -> ContainerRestartRule:
    codes = ContainerRestartRuleExitCodes(operator=operator, values=values)
    return ContainerRestartRule(action=action, exit_codes=codes)


def exited(code: int, name: str = "web", **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(f"{name}-0"),
        sandbox_id=SandboxID("s0"),
        name=name,
        attempt=0,
        state=ContainerState.EXITED,
        created_at=900.0,
        started_at=901.0,
        finished_at=990.0,
        exit_code=code,
    )
    return replace(good, **changes)


def pod_with(container: Container, policy: str, kind: str = "containers") -> Pod:
    return builders.pod(spec={kind: (container,), "restart_policy": policy})


@pytest.mark.parametrize(
    ("pod_policy", "policy", "rules", "restarts"),
    [
        ("Always", None, (), {0, 1, 42}),
        ("OnFailure", None, (), {1, 42}),
        ("Never", None, (), set()),
        ("Never", "Always", (), {0, 1, 42}),
        ("Always", "Never", (), set()),
        ("Always", "OnFailure", (), {1, 42}),
        ("Never", "Never", (rule("In", 42),), {42}),
        ("Never", "Never", (rule("NotIn", 0, 1),), {42}),
        ("Never", "OnFailure", (rule("In", 0),), {0, 1, 42}),
        ("Never", "Never", (rule("In", 1), rule("In", 42)), {1, 42}),
        ("Never", "Never", (rule("Near", 42), rule("In", 1, action="Dance")), set()),
        ("Never", "Never", (ContainerRestartRule(action="Restart"),), set()),
        # Rules without a policy of the container's own are invalid, and the pod's policy stands.
        ("Never", None, (rule("In", 42),), set()),
    ],
)
def test_the_containers_rules_go_before_its_policy_and_that_before_the_pods(
    pod_policy: str, policy: str | None, rules: tuple[ContainerRestartRule, ...], restarts: set[int]
) -> None:
    web = builders.container("web", restart_policy=policy, restart_policy_rules=rules)
    pod = pod_with(web, pod_policy)

    assert {code for code in (0, 1, 42) if should_restart(pod, web, exited(code))} == restarts


@pytest.mark.parametrize(
    ("pod_policy", "policy", "rules", "restarts"),
    [
        ("Always", None, (), {1, 42}),
        ("OnFailure", None, (), {1, 42}),
        ("Never", None, (), set()),
        ("Always", "Never", (), set()),
        ("Never", "OnFailure", (), {1, 42}),
        ("Never", "Never", (rule("In", 0, 42),), {42}),
        ("Never", "Always", (), {0, 1, 42}),
    ],
)
def test_an_init_container_that_succeeded_is_done_unless_it_is_a_sidecar(
    pod_policy: str, policy: str | None, rules: tuple[ContainerRestartRule, ...], restarts: set[int]
) -> None:
    first = builders.container("first", restart_policy=policy, restart_policy_rules=rules)
    pod = pod_with(first, pod_policy, "init_containers")

    found = {code for code in (0, 1, 42) if should_restart(pod, first, exited(code, "first"))}

    assert found == restarts


def test_an_ephemeral_container_never_runs_again() -> None:
    debugger = builders.container("debugger")
    pod = pod_with(debugger, "Always", "ephemeral_containers")

    assert not should_restart(pod, debugger, exited(1, "debugger"))


def test_an_unknown_state_is_no_end() -> None:
    web = builders.container("web")
    unknown = exited(0, state=ContainerState.UNKNOWN)

    assert should_restart(pod_with(web, "Never"), web, unknown)


def test_a_pod_goes_on_while_one_container_comes_back() -> None:
    stubborn = builders.container("stubborn", restart_policy="Always")
    pod = msgspec.structs.replace(
        builders.pod(spec={"containers": (builders.container("web"), stubborn), "restart_policy": "Never"}),
        status=PodStatus(),
    )
    both = ObservedPod((), (exited(1), exited(0, "stubborn")))

    assert not is_pod_finished(pod, both)
    assert is_pod_finished(pod_with(builders.container("web"), "Never"), ObservedPod((), (exited(1),)))


def test_crashes_wait_twice_as_long_each_time_up_to_five_minutes() -> None:
    delays, previous = [], None
    for _ in range(8):
        delay = compute_next_backoff(previous)
        delays.append(delay)
        previous = exited(1, backoff_seconds=delay)

    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert compute_restart_time(exited(1, backoff_seconds=40)) == 990.0 + 40


def test_ten_minutes_of_running_are_forgiven() -> None:
    long = exited(1, backoff_seconds=300, started_at=100.0, finished_at=700.0)
    short = exited(1, backoff_seconds=300, started_at=100.0, finished_at=699.0)

    assert [compute_restart_time(each) for each in (long, short)] == [700.0, 999.0]
    assert [compute_next_backoff(each) for each in (long, short)] == [10, 300]
