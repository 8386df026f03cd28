"""The status of a pod: phases, conditions, container states, as the kubelet words them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.pods.goal import Ending, PodGoal, Termination
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.ports import ContainerID, ProbeVerdict, SandboxID
from agent.pods.progress import Failure, Progress
from agent.pods.status.pod_status import NodeFacts, compute_pod_status, order_pod_ips
from agent.runtime.values import ContainerState
from kubeapi.meta import Condition
from kubeapi.pod import (
    Container,
    ContainerStatus,
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    Pod,
    PodReadinessGate,
    PodStatus,
    Probe,
    SleepAction,
)
from tests import builders

NOW = builders.NOW.timestamp()
NODE = NodeFacts(("192.168.0.1",))
SANDBOX = ObservedSandbox(SandboxID("s0"), 0, True, NOW - 100, ("10.1.0.1",))
WEB = builders.container("web")


def running(name: str = "web", **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(f"{name}-id"),
        sandbox_id=SandboxID("s0"),
        name=name,
        attempt=0,
        state=ContainerState.RUNNING,
        created_at=NOW - 60,
        started_at=NOW - 59,
        image="berth.local/web:1",
        image_ref="sha256:abc",
    )
    return replace(good, **changes)


def exited(name: str = "web", code: int = 1, **changes: Any) -> ObservedContainer:
    facts = {"state": ContainerState.EXITED, "finished_at": NOW - 5, "exit_code": code, **changes}
    return running(name, **facts)


def new_pod(**spec: Any) -> Pod:
    return msgspec.structs.replace(builders.pod(spec=spec), status=PodStatus())


def compute(
    *containers: ObservedContainer,
    pod: Pod | None = None,
    progress: Progress | None = None,
    previous: PodStatus | None = None,
    termination: Termination | None = None,
    sandboxes: tuple[ObservedSandbox, ...] = (SANDBOX,),
) -> PodStatus:
    goal = PodGoal(pod or new_pod(), termination, start_time=NOW - 100)
    observed = ObservedPod(sandboxes, containers)
    return compute_pod_status(goal, observed, progress or Progress(), previous or PodStatus(), NODE, NOW)


def condition(status: PodStatus, type_: str) -> tuple[str, str, str]:
    found = next(c for c in status.conditions if c.type == type_)
    return found.status, found.reason, found.message


def first(status: PodStatus) -> ContainerStatus:
    return status.container_statuses[0]


def waiting(status: ContainerStatus) -> tuple[str, str]:
    assert status.state.waiting is not None
    return status.state.waiting.reason, status.state.waiting.message


def test_a_running_pod_is_ready_with_addresses() -> None:
    status = compute(running())
    assert status.phase == "Running"
    assert (status.pod_ip, status.host_ip) == ("10.1.0.1", "192.168.0.1")
    assert status.qos_class == "Burstable"
    assert status.start_time == builders.at(-100)
    for type_ in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"):
        assert condition(status, type_) == ("True", "", "")
    assert (first(status).container_id, first(status).image_id) == ("containerd://web-id", "sha256:abc")
    assert first(status).state.running is not None


def test_a_new_pod_is_pending_and_creating() -> None:
    status = compute(sandboxes=())
    assert status.phase == "Pending"
    assert waiting(first(status)) == ("ContainerCreating", "")
    assert condition(status, "PodReadyToStartContainers")[0] == "False"
    message = "containers with unready status: [web]"
    assert condition(status, "Ready") == ("False", "ContainersNotReady", message)
    assert status.pod_ip == ""


def test_a_container_that_is_only_made_is_still_creating() -> None:
    made = running(state=ContainerState.CREATED, started_at=None)
    assert waiting(first(compute(made))) == ("ContainerCreating", "")
    assert first(compute(made)).container_id == ""


def test_a_failure_names_itself_in_place_of_creating() -> None:
    failure = Failure("ErrImagePull", "not there", NOW, NOW + 1)
    progress = Progress(failures={"EnsureImage:container/web": failure})
    assert waiting(first(compute(progress=progress))) == ("ErrImagePull", "not there")


def test_a_crash_waits_in_the_loop_with_its_last_state() -> None:
    status = compute(exited(code=7, backoff_seconds=80, message="bye", restart_count=3))
    assert waiting(first(status)) == (
        "CrashLoopBackOff",
        "back-off 1m20s restarting failed container=web pod=web-1_default(uid-web-1)",
    )
    last = first(status).last_state.terminated
    assert last is not None
    assert (last.exit_code, last.reason, last.message) == (7, "Error", "bye")
    assert (last.started_at, last.finished_at) == (builders.at(-59), builders.at(-5))
    assert first(status).restart_count == 3
    assert status.phase == "Running"


def test_a_first_crash_shows_its_end_until_it_runs_again() -> None:
    ended = first(compute(exited())).state.terminated
    assert ended is not None
    assert ended.reason == "Error"


def test_the_previous_attempt_is_the_last_state_of_a_running_one() -> None:
    status = first(
        compute(running(id=ContainerID("new"), restart_count=1), exited(reason="OOMKilled", code=137))
    )
    assert status.last_state.terminated is not None
    assert status.last_state.terminated.reason == "OOMKilled"


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ],
)
def test_the_phase_follows_exits_and_restart_policy(policy: str, codes: tuple[int, int], phase: str) -> None:
    pod = new_pod(restart_policy=policy, containers=(WEB, builders.container("other")))
    status = compute(exited("web", codes[0]), exited("other", codes[1]), pod=pod)
    assert status.phase == phase


def test_a_final_phase_is_final() -> None:
    assert compute(running(), previous=PodStatus(phase="Failed", reason="Evicted")).phase == "Failed"
    assert compute(running(), previous=PodStatus(phase="Failed", reason="Evicted")).reason == "Evicted"


def test_a_succeeded_pod_is_not_ready_because_it_is_complete() -> None:
    status = compute(exited(code=0), pod=new_pod(restart_policy="Never"))
    assert condition(status, "Ready") == ("False", "PodCompleted", "")
    assert condition(status, "ContainersReady") == ("False", "PodCompleted", "")
    assert condition(status, "Initialized") == ("True", "PodCompleted", "")


def test_a_deleted_pods_phase_tells_how_it_ended() -> None:
    termination = Termination(Ending.DELETED, NOW, 30)
    assert compute(exited(code=0), termination=termination).phase == "Succeeded"
    assert compute(exited(code=143), termination=termination).phase == "Failed"
    assert compute(running(), termination=termination).phase == "Running"


def test_a_refused_pod_says_why() -> None:
    termination = Termination(Ending.FAILED, NOW, 30, "OutOfcpu", "Pod was rejected: too much")
    status = compute(sandboxes=(), termination=termination)
    assert (status.phase, status.reason, status.message) == (
        "Failed",
        "OutOfcpu",
        "Pod was rejected: too much",
    )
    assert (status.container_statuses, status.host_ip) == ((), "")


def test_init_containers_hold_the_apps_in_initializing() -> None:
    pod = new_pod(init_containers=(builders.container("first"), builders.container("second")))
    status = compute(running("first"), pod=pod)
    assert status.phase == "Pending"
    assert waiting(first(status)) == ("PodInitializing", "")
    message = "containers with incomplete status: [first second]"
    assert condition(status, "Initialized") == ("False", "ContainersNotInitialized", message)
    done = compute(exited("second", 0), exited("first", 0), pod=pod)
    assert condition(done, "Initialized") == ("True", "", "")
    assert [status.ready for status in done.init_container_statuses] == [True, True]
    assert waiting(first(done)) == ("ContainerCreating", "")


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = new_pod(init_containers=(builders.container("first"),), restart_policy="Never")
    assert compute(exited("first", 1), pod=pod).phase == "Failed"
    assert (
        compute(exited("first", 1), pod=new_pod(init_containers=pod.spec.init_containers)).phase == "Pending"
    )


def test_a_pod_has_not_ended_while_a_sidecar_runs() -> None:
    sidecar = builders.container("proxy", restart_policy="Always")
    pod = new_pod(init_containers=(sidecar,), restart_policy="Never")
    ended = exited(code=0)

    phases = [compute(ended, proxy, pod=pod).phase for proxy in (running("proxy"), exited("proxy", 143))]

    assert phases == ["Running", "Succeeded"]


def test_a_sidecar_counts_for_readiness() -> None:
    sidecar = builders.container("proxy", restart_policy="Always")
    pod = new_pod(init_containers=(sidecar,))
    assert condition(compute(running(), running("proxy"), pod=pod), "Ready")[0] == "True"
    crashed = compute(running(), exited("proxy", backoff_seconds=10), pod=pod)
    assert condition(crashed, "Ready")[2] == "containers with unready status: [proxy]"
    assert crashed.phase == "Running"


def probed(**probes: Probe) -> Container:
    return builders.container("web", **probes)


def test_probes_decide_ready_and_started() -> None:
    pod = new_pod(containers=(probed(readiness_probe=Probe(exec=ExecAction(command=("x",)))),))
    verdict = ProbeVerdict(started=True, ready=False, live=True)
    status = compute(running(), pod=pod, progress=Progress(verdicts={ContainerID("web-id"): verdict}))
    assert (first(status).ready, first(status).started) == (False, True)
    assert condition(status, "ContainersReady")[1] == "ContainersNotReady"


def test_a_readiness_gate_waits_for_its_condition() -> None:
    pod = new_pod(readiness_gates=(PodReadinessGate(condition_type="example.com/ready"),))
    closed = compute(running(), pod=pod)
    expected = 'the status of pod readiness gate "example.com/ready" is not "True"'
    assert condition(closed, "Ready") == ("False", "ReadinessGatesNotReady", expected)
    gate = Condition(type="example.com/ready", status="True")
    assert (
        condition(compute(running(), pod=pod, previous=PodStatus(conditions=(gate,))), "Ready")[0] == "True"
    )


def test_a_transition_time_changes_only_with_the_status() -> None:
    old = Condition(type="Ready", status="True", last_transition_time=builders.at(-500))
    other = Condition(type="DisruptionTarget", status="True", last_transition_time=builders.at(-9))
    status = compute(running(), previous=PodStatus(conditions=(old, other)))
    times = {c.type: c.last_transition_time for c in status.conditions}
    assert times["Ready"] == builders.at(-500)
    assert times["ContainersReady"] == builders.at(0)
    assert times["DisruptionTarget"] == builders.at(-9)


def test_conditions_tell_the_generation_that_they_are_about() -> None:
    pod = msgspec.structs.replace(new_pod(), metadata=builders.pod(metadata={"generation": 7}).metadata)
    other = Condition(type="example.com/ready", status="True")
    status = compute(running(), pod=pod, previous=PodStatus(conditions=(other,)))
    assert status.observed_generation == 7
    assert {c.type: c.observed_generation for c in status.conditions} == {
        "PodReadyToStartContainers": 7,
        "Initialized": 7,
        "Ready": 7,
        "ContainersReady": 7,
        "PodScheduled": 7,
        "example.com/ready": None,
    }


def test_a_pod_that_the_node_ends_for_its_own_reasons_is_a_disruption_target() -> None:
    termination = Termination(Ending.FAILED, NOW, 30, "Terminated", "The node is shutting down", True)
    status = compute(exited(code=143), termination=termination)
    expected = ("True", "TerminationByKubelet", "The node is shutting down")
    assert condition(status, "DisruptionTarget") == expected
    again = compute(exited(code=143), termination=termination, previous=status)
    assert [c.type for c in again.conditions].count("DisruptionTarget") == 1
    deleted = compute(exited(), termination=Termination(Ending.DELETED, NOW, 30))
    assert "DisruptionTarget" not in {c.type for c in deleted.conditions}


def test_a_final_phase_waits_for_the_last_container() -> None:
    late = Termination(Ending.FAILED, NOW, 30, "DeadlineExceeded", "too long")
    before = compute(running())
    stopping = compute(running(), termination=late, previous=before)
    assert (stopping.phase, stopping.reason, stopping.message) == ("Running", "", "")
    assert condition(stopping, "Ready")[:2] == ("False", "PodFailed")
    ended = compute(exited(code=143), termination=late, previous=stopping)
    assert (ended.phase, ended.reason, ended.message) == ("Failed", "DeadlineExceeded", "too long")


def test_a_container_that_restarts_by_its_own_rules_keeps_the_pod_running() -> None:
    stubborn = builders.container("web", restart_policy="Always")
    pod = new_pod(restart_policy="Never", containers=(stubborn, builders.container("other")))
    status = compute(exited(backoff_seconds=80), exited("other", 0), pod=pod)
    assert status.phase == "Running"
    assert waiting(first(status))[0] == "CrashLoopBackOff"
    done = new_pod(containers=(builders.container("web", restart_policy="Never"),))
    assert compute(exited(code=0), pod=done).phase == "Succeeded"
    assert compute(exited(code=1), pod=done).phase == "Failed"


def test_an_init_containers_own_policy_decides_whether_the_pod_has_failed() -> None:
    final = builders.container("first", restart_policy="Never")
    assert compute(exited("first", 1), pod=new_pod(init_containers=(final,))).phase == "Failed"
    patient = builders.container("first", restart_policy="OnFailure")
    pod = new_pod(init_containers=(patient,), restart_policy="Never")
    assert compute(exited("first", 1), pod=pod).phase == "Pending"


def test_init_containers_of_a_new_sandbox_make_the_pod_pending_again() -> None:
    pod = new_pod(init_containers=(builders.container("first"),))
    assert compute(exited(code=137), running("first"), pod=pod).phase == "Pending"
    assert compute(exited(code=137), exited("first", 0), pod=pod).phase == "Running"


def test_a_container_counts_as_running_once_its_post_start_hook_is_done() -> None:
    hook = LifecycleHandler(sleep=SleepAction(seconds=1))
    pod = new_pod(containers=(builders.container("web", lifecycle=Lifecycle(post_start=hook)),))
    hooking = compute(running(), pod=pod)
    assert waiting(first(hooking)) == ("ContainerCreating", "")
    assert hooking.phase == "Pending"
    done = compute(running(), pod=pod, progress=Progress(post_started=frozenset({ContainerID("web-id")})))
    assert (first(done).ready, first(done).started, done.phase) == (True, True, "Running")


def test_a_container_that_got_lost_is_told_as_such() -> None:
    before = compute(running(restart_count=2))
    lost = compute(previous=before)
    assert waiting(first(lost))[0] == "ContainerCreating"
    last = first(lost).last_state.terminated
    assert last is not None
    assert (last.exit_code, last.reason) == (137, "ContainerStatusUnknown")
    assert (first(lost).restart_count, lost.phase) == (3, "Running")
    assert first(compute(previous=lost)) == first(lost)
    ending = compute(previous=before, termination=Termination(Ending.DELETED, NOW, 30))
    assert first(ending).state.terminated is not None
    ended = compute(exited(), pod=new_pod(restart_policy="Never"))
    assert first(compute(previous=ended)) == first(ended)


def test_last_words_share_twelve_kibibytes() -> None:
    three = tuple(builders.container(name) for name in ("web", "b", "c"))
    pod = new_pod(containers=three, restart_policy="Never")
    ended = first(compute(exited(message="x" * 5000), pod=pod)).state.terminated
    assert ended is not None
    assert len(ended.message) == 4096


def test_a_start_that_was_cut_short_is_no_end_of_the_pod() -> None:
    cut = exited(code=128, started_at=None, message="context canceled")
    assert compute(cut, pod=new_pod(restart_policy="Never")).phase not in ("Failed", "Succeeded")


def test_what_is_empty_is_not_written_and_what_the_api_demands_is() -> None:
    status = msgspec.to_builtins(first(compute(exited(code=0), pod=new_pod(restart_policy="Never"))))
    assert status["state"]["terminated"] == {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": builders.at(-59),
        "finishedAt": builders.at(-5),
        "containerID": "containerd://web-id",
    }
    made = msgspec.to_builtins(first(compute()))
    assert {key: made[key] for key in ("lastState", "ready", "restartCount", "imageID", "started")} == {
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "imageID": "",
        "started": False,
    }
    assert "containerID" not in made


@pytest.mark.parametrize(
    ("host_ips", "expected"),
    [
        (("192.168.0.1", "fd00::1"), ("10.1.0.1", "fd01::1")),
        (("fd00::1", "192.168.0.1"), ("fd01::1", "10.1.0.1")),
        ((), ("fd01::1", "10.1.0.1")),
    ],
)
def test_the_nodes_primary_family_comes_first(host_ips: tuple[str, ...], expected: tuple[str, ...]) -> None:
    ips = ("fd01::1", "10.1.0.1", "10.1.0.2")
    assert order_pod_ips(ips, host_ips) == expected
    goal, node = PodGoal(new_pod(), None, start_time=NOW), NodeFacts(host_ips)
    observed = ObservedPod((replace(SANDBOX, ips=ips),), (running(),))
    status = compute_pod_status(goal, observed, Progress(), PodStatus(), node, NOW)
    assert tuple(ip.ip for ip in status.pod_ips) == expected
    assert (status.pod_ip, tuple(ip.ip for ip in status.host_ips)) == (expected[0], host_ips)
    host = PodGoal(new_pod(host_network=True), None, start_time=NOW)
    shown = compute_pod_status(host, observed, Progress(), PodStatus(), node, NOW)
    assert tuple(ip.ip for ip in shown.pod_ips) == host_ips


def test_addresses_stay_while_a_pod_ends() -> None:
    previous = compute(running())
    stopped = replace(SANDBOX, ready=False)
    termination = Termination(Ending.DELETED, NOW, 30)
    ended = compute(exited(code=0), sandboxes=(stopped,), previous=previous, termination=termination)
    assert ended.pod_ip == "10.1.0.1"


def test_on_the_host_network_the_pod_has_the_nodes_address() -> None:
    sandbox = replace(SANDBOX, ips=())
    assert compute(running(), pod=new_pod(host_network=True), sandboxes=(sandbox,)).pod_ip == "192.168.0.1"
