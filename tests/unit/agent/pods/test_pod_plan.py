"""The pod plan: a good pair of goal and facts, one fact changed, the whole tuple of actions compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.pods.actions import (
    CreateContainer,
    DeletePod,
    EnsureImage,
    PrepareVolumes,
    RefreshVolumes,
    RemoveContainer,
    RemovePodFiles,
    RemovePodSandbox,
    RemoveVolumes,
    RunPodSandbox,
    RunPostStartHook,
    RunPreStopHook,
    StartContainer,
    StopContainer,
    StopPodSandbox,
)
from agent.pods.goal import Ending, PodGoal, Termination, compute_spec_hash
from agent.pods.observed import ObservedContainer, ObservedPod, ObservedSandbox
from agent.pods.plan import PodPlan, plan_pod
from agent.pods.ports import ContainerID, LocalImage, ProbeVerdict, SandboxID
from agent.pods.progress import Failure, InFlight, Progress, ReadyImage
from agent.runtime.values import ContainerState
from kubeapi.pod import Container, ExecAction, Lifecycle, LifecycleHandler, Pod, Probe
from tests import builders

NOW = 1000.0
S0, S1 = SandboxID("s0"), SandboxID("s1")
IMAGE = LocalImage("sha256:web", 0, "")


def sandbox(id_: SandboxID = S0, **changes: Any) -> ObservedSandbox:
    return replace(
        ObservedSandbox(id_, attempt=0, ready=True, created_at=900.0, ips=("10.1.0.1",)), **changes
    )


def running(container: Container, id_: str = "", **changes: Any) -> ObservedContainer:
    good = ObservedContainer(
        id=ContainerID(id_ or f"{container.name}-0"),
        sandbox_id=S0,
        name=container.name,
        attempt=0,
        state=ContainerState.RUNNING,
        created_at=910.0,
        started_at=911.0,
        spec_hash=compute_spec_hash(container),
    )
    return replace(good, **changes)


def exited(container: Container, code: int = 1, id_: str = "", **changes: Any) -> ObservedContainer:
    facts = {"state": ContainerState.EXITED, "finished_at": 990.0, "exit_code": code, **changes}
    return running(container, id_, **facts)


WEB = builders.container("web")
POD = builders.pod(status={"phase": "Running"})
READY = Progress(volumes={}, images={"web": ReadyImage(0, IMAGE)})


def plan(
    pod: Pod = POD,
    observed: ObservedPod | None = None,
    progress: Progress = READY,
    termination: Termination | None = None,
    now: float = NOW,
) -> PodPlan:
    facts = ObservedPod((sandbox(),), (running(WEB),)) if observed is None else observed
    return plan_pod(PodGoal(pod, termination), facts, progress, now)


def facts(
    *containers: ObservedContainer, sandboxes: tuple[ObservedSandbox, ...] | None = None
) -> ObservedPod:
    return ObservedPod((sandbox(),) if sandboxes is None else sandboxes, containers)


def with_spec(**spec: Any) -> Pod:
    return builders.pod(spec=spec, status={"phase": "Running"})


# --- starting -----------------------------------------------------------------------------------------------


def test_a_pod_as_wanted_plans_nothing() -> None:
    assert plan() == PodPlan()


def test_a_new_pod_prepares_everything_at_once() -> None:
    assert plan(observed=ObservedPod(), progress=Progress()).actions == (
        PrepareVolumes(),
        RunPodSandbox(0),
        EnsureImage("web", 0),
    )


def test_a_container_waits_for_the_volumes_not_for_the_image() -> None:
    assert plan(observed=facts(), progress=Progress()).actions == (PrepareVolumes(), EnsureImage("web", 0))


def test_a_container_is_made_once_volumes_and_image_are_there() -> None:
    assert plan(observed=facts()).actions == (CreateContainer("web", S0, 0, 0, 0.0),)


def test_a_container_that_was_only_made_is_started() -> None:
    made = running(WEB, state=ContainerState.CREATED, started_at=None)
    assert plan(observed=facts(made)).actions == (StartContainer("web", made.id),)


def test_a_container_made_for_an_older_image_is_removed() -> None:
    made = running(WEB, state=ContainerState.CREATED, started_at=None, spec_hash="old")
    assert plan(observed=facts(made)).actions == (RemoveContainer("web", made.id),)


def test_a_changed_image_replaces_the_container() -> None:
    why = "Container web definition changed, will be restarted"
    stop = StopContainer("web", ContainerID("web-0"), NOW + 30, why)
    assert plan(observed=facts(running(WEB, spec_hash="old"))).actions == (stop,)


def test_app_containers_start_side_by_side() -> None:
    pod = with_spec(containers=(WEB, builders.container("other")))
    assert plan(pod, facts(), Progress(volumes={})).actions == (
        EnsureImage("web", 0),
        EnsureImage("other", 0),
    )


def test_stale_volumes_are_refreshed_beside_running_containers() -> None:
    assert plan(progress=replace(READY, volumes_stale=True)).actions == (RefreshVolumes(),)


def test_a_sandbox_without_an_address_does_not_count() -> None:
    useless = facts(sandboxes=(sandbox(ips=()),))
    assert plan(observed=useless).actions == (StopPodSandbox(S0),)


def test_on_the_host_network_it_does() -> None:
    pod = with_spec(host_network=True)
    assert plan(pod, facts(sandboxes=(sandbox(ips=()),))).actions == (CreateContainer("web", S0, 0, 0, 0.0),)


# --- replacing a sandbox ------------------------------------------------------------------------------------


def test_what_runs_in_a_dead_sandbox_is_stopped_before_a_new_one_is_made() -> None:
    dead = facts(running(WEB), sandboxes=(sandbox(ready=False),))
    assert plan(observed=dead).actions == (StopContainer("web", ContainerID("web-0"), NOW + 30),)


def test_then_the_dead_sandbox_gives_its_network_back() -> None:
    dead = facts(exited(WEB), sandboxes=(sandbox(ready=False),))
    assert plan(observed=dead).actions == (StopPodSandbox(S0),)


def test_then_the_next_attempt_follows() -> None:
    dead = facts(exited(WEB), sandboxes=(sandbox(ready=False),))
    stopped = replace(READY, stopped=frozenset({S0}), images={})
    assert plan(observed=dead, progress=stopped).actions == (RunPodSandbox(1), EnsureImage("web", 1))


def test_a_reserved_sandbox_name_is_skipped() -> None:
    progress = Progress(volumes={}, attempt_floors={"sandbox": 3}, images=READY.images)
    assert plan(observed=ObservedPod(), progress=progress).actions == (RunPodSandbox(3),)


def test_a_container_in_an_older_sandbox_is_stopped_before_its_successor_is_made() -> None:
    both = (sandbox(S1, attempt=1, created_at=950.0), sandbox())
    actions = plan(observed=facts(running(WEB), sandboxes=both)).actions
    assert actions[0] == StopContainer("web", ContainerID("web-0"), NOW + 2, "its sandbox was replaced")
    assert not any(isinstance(action, CreateContainer) for action in actions)


def test_an_old_sandbox_goes_when_nothing_in_it_is_worth_keeping() -> None:
    old = sandbox(ready=False)
    new = sandbox(S1, attempt=1, created_at=950.0)
    successor = running(WEB, "web-1", sandbox_id=S1, attempt=1, created_at=960.0)
    kept = facts(successor, exited(WEB), sandboxes=(new, old))
    stopped = replace(READY, stopped=frozenset({S0}))
    assert plan(observed=kept, progress=stopped).actions == ()
    gone = facts(successor, sandboxes=(new, old))
    assert plan(observed=gone, progress=stopped).actions == (RemovePodSandbox(S0),)


# --- restarting ---------------------------------------------------------------------------------------------


def test_a_first_crash_restarts_at_once() -> None:
    progress = replace(READY, images={"web": ReadyImage(1, IMAGE)})
    expected = CreateContainer("web", S0, attempt=1, restart_count=1, backoff_seconds=10.0)
    assert plan(observed=facts(exited(WEB)), progress=progress).actions == (expected,)


def test_a_second_crash_waits_for_its_back_off() -> None:
    waiting = plan(observed=facts(exited(WEB, backoff_seconds=20)))
    assert waiting == PodPlan(next_look=1010.0)
    assert plan(observed=facts(exited(WEB, backoff_seconds=20)), now=1010.0).actions == (
        EnsureImage("web", 1),
    )


def test_never_and_on_failure_leave_an_exit_alone() -> None:
    done = replace(READY, stopped=frozenset({S0}), volumes_removed=True)
    ended = (sandbox(ready=False),)
    never = with_spec(restart_policy="Never")
    assert plan(never, facts(exited(WEB), sandboxes=ended), done) == PodPlan()
    on_failure = with_spec(restart_policy="OnFailure")
    assert plan(on_failure, facts(exited(WEB, code=0), sandboxes=ended), done) == PodPlan()


def test_a_finished_pod_gives_sandbox_and_volumes_back() -> None:
    never = with_spec(restart_policy="Never")
    assert plan(never, facts(exited(WEB))).actions == (StopPodSandbox(S0), RemoveVolumes())


def test_a_pod_with_a_final_phase_never_starts_again() -> None:
    failed = builders.pod(status={"phase": "Failed"})
    assert plan(failed, ObservedPod(), replace(READY, volumes_removed=True)) == PodPlan()


def test_a_container_that_is_not_live_is_stopped_with_the_probes_own_grace() -> None:
    probe = Probe(exec=ExecAction(command=("x",)), termination_grace_period_seconds=4)
    probed = builders.container("web", liveness_probe=probe)
    dead = {ContainerID("web-0"): ProbeVerdict(started=True, ready=False, live=False)}
    why = "Container web failed liveness probe, will be restarted"
    stop = StopContainer("web", ContainerID("web-0"), NOW + 4, why)
    assert plan(with_spec(containers=(probed,)), progress=replace(READY, verdicts=dead)).actions == (stop,)


def test_a_container_that_does_not_come_back_is_stopped_without_that_promise() -> None:
    probe = Probe(exec=ExecAction(command=("x",)))
    dead = {ContainerID("web-0"): ProbeVerdict(started=False, ready=False, live=False)}
    final = builders.container("web", startup_probe=probe, restart_policy="Never")
    (stop,) = plan(with_spec(containers=(final,)), progress=replace(READY, verdicts=dead)).actions
    assert stop == StopContainer("web", ContainerID("web-0"), NOW + 30, "Container web failed startup probe")


def test_only_the_newest_two_attempts_are_kept() -> None:
    attempts = tuple(
        exited(WEB, 1, f"web-{number}", attempt=number, created_at=910.0 + number, backoff_seconds=100)
        for number in (3, 2, 1)
    )
    assert plan(observed=facts(*attempts)).actions == (
        RemoveContainer("web", ContainerID("web-1")),
        # The third goes at a later look: one action for each container at a time.
    )


# --- order of init containers, sidecars and hooks -----------------------------------------------------------

FIRST = builders.container("first")
SIDECAR = builders.container("proxy", restart_policy="Always")
ORDERED = with_spec(init_containers=(FIRST, SIDECAR))


def test_only_the_first_init_container_starts_first() -> None:
    assert plan(ORDERED, facts(), Progress(volumes={})).actions == (EnsureImage("first", 0),)


def test_a_running_init_container_holds_up_the_rest() -> None:
    assert plan(ORDERED, facts(running(FIRST))) == PodPlan()


def test_a_sidecar_follows_when_the_init_container_is_done() -> None:
    assert plan(ORDERED, facts(exited(FIRST, code=0))).actions == (EnsureImage("proxy", 0),)


def test_a_sidecar_that_has_not_started_holds_up_the_apps() -> None:
    probe = Probe(exec=ExecAction(command=("x",)))
    slow = builders.container("proxy", restart_policy="Always", startup_probe=probe)
    starting = {ContainerID("proxy-0"): ProbeVerdict(started=False, ready=False, live=True)}
    pod = with_spec(init_containers=(FIRST, slow))
    there = facts(running(slow), exited(FIRST, code=0))
    assert plan(pod, there, replace(READY, verdicts=starting)) == PodPlan()
    assert plan(pod, there).actions == (CreateContainer("web", S0, 0, 0, 0.0),)


def test_init_containers_do_not_run_again_beside_running_apps() -> None:
    assert plan(ORDERED, facts(running(WEB), running(SIDECAR))) == PodPlan()


def test_a_sidecar_comes_back_beside_running_apps() -> None:
    there = facts(running(WEB), exited(SIDECAR, code=0), exited(FIRST, code=0))
    assert plan(ORDERED, there).actions == (EnsureImage("proxy", 1),)


def test_hooks_surround_the_container() -> None:
    hook = LifecycleHandler(exec=ExecAction(command=("x",)))
    hooked = builders.container("web", lifecycle=Lifecycle(post_start=hook, pre_stop=hook))
    pod = with_spec(containers=(hooked,))
    web = ContainerID("web-0")
    assert plan(pod).actions == (RunPostStartHook("web", web),)
    greeted = replace(READY, post_started=frozenset({web}))
    assert plan(pod, progress=greeted) == PodPlan()
    assert plan(pod, progress=greeted, termination=DELETED).actions == (RunPreStopHook("web", web, NOW + 20),)
    parted = replace(greeted, pre_stopped=frozenset({web}))
    assert plan(pod, progress=parted, termination=DELETED).actions == (StopContainer("web", web, NOW + 20),)


def test_a_failed_post_start_hook_kills_the_container() -> None:
    hook = LifecycleHandler(exec=ExecAction(command=("x",)))
    pod = with_spec(containers=(builders.container("web", lifecycle=Lifecycle(post_start=hook)),))
    failed = replace(READY, hook_failed=frozenset({ContainerID("web-0")}))
    stop = StopContainer("web", ContainerID("web-0"), NOW + 30, "FailedPostStartHook")
    assert plan(pod, progress=failed).actions == (stop,)


# --- ending -------------------------------------------------------------------------------------------------

DELETED = Termination(Ending.DELETED, since=NOW - 10, grace_seconds=30)


def test_deletion_takes_the_pod_down_step_by_step() -> None:
    progress = READY
    stop = plan(progress=progress, termination=DELETED)
    assert stop.actions == (StopContainer("web", ContainerID("web-0"), NOW + 20),)
    dead = facts(exited(WEB, code=143))
    assert plan(observed=dead, termination=DELETED).actions == (StopPodSandbox(S0), RemoveVolumes())
    down = facts(exited(WEB, code=143), sandboxes=(sandbox(ready=False),))
    progress = replace(READY, stopped=frozenset({S0}), volumes_removed=True)
    assert plan(observed=down, progress=progress, termination=DELETED).actions == (RemovePodSandbox(S0),)
    gone = ObservedPod()
    assert plan(observed=gone, progress=progress, termination=DELETED).actions == (RemovePodFiles(),)
    progress = replace(progress, files_removed=True)
    assert plan(observed=gone, progress=progress, termination=DELETED).actions == (DeletePod(),)
    progress = replace(progress, object_deleted=True)
    assert plan(observed=gone, progress=progress, termination=DELETED) == PodPlan(finished=True)


def test_a_pod_that_is_gone_needs_no_delete_call() -> None:
    gone = Termination(Ending.GONE, since=NOW, grace_seconds=30)
    clean = replace(READY, volumes_removed=True, files_removed=True)
    assert plan(observed=ObservedPod(), progress=clean, termination=gone) == PodPlan(finished=True)


def test_a_failed_pod_is_halted_and_kept() -> None:
    failed = Termination(Ending.FAILED, since=NOW, grace_seconds=30)
    down = facts(exited(WEB, code=143), sandboxes=(sandbox(ready=False),))
    halted = replace(READY, stopped=frozenset({S0}), volumes_removed=True)
    assert plan(observed=down, progress=halted, termination=failed) == PodPlan()


def test_sidecars_stop_after_the_apps_in_reverse_order() -> None:
    second = builders.container("second", restart_policy="Always")
    pod = with_spec(init_containers=(SIDECAR, second))
    everything = facts(running(WEB), running(second), running(SIDECAR))
    (stop,) = plan(pod, everything, termination=DELETED).actions
    assert stop == StopContainer("web", ContainerID("web-0"), NOW + 20)
    rest = facts(exited(WEB), running(second), running(SIDECAR))
    (stop,) = plan(pod, rest, termination=DELETED).actions
    assert stop == StopContainer("second", ContainerID("second-0"), NOW + 20)
    last = facts(exited(WEB), exited(second), running(SIDECAR))
    (stop,) = plan(pod, last, termination=DELETED).actions
    assert stop == StopContainer("proxy", ContainerID("proxy-0"), NOW + 20)


def test_nothing_is_taken_down_while_a_call_may_still_make_something() -> None:
    making = replace(READY, in_flight={"sandbox": InFlight("RunPodSandbox", NOW)})
    expected = PodPlan(next_look=NOW + 10)  # by then the call is given up
    assert plan(observed=ObservedPod(), progress=making, termination=DELETED) == expected


def test_a_pull_is_given_up_when_the_pod_ends() -> None:
    pulling = replace(READY, in_flight={"container/web": InFlight("EnsureImage", NOW)})
    assert plan(observed=facts(), progress=pulling, termination=DELETED).cancel == ("container/web",)


def test_a_shorter_grace_period_replaces_the_stop_in_flight() -> None:
    stopping = replace(READY, in_flight={"container/web": InFlight("StopContainer", NOW, kill_at=NOW + 500)})
    assert plan(progress=stopping, termination=DELETED) == PodPlan(cancel=("container/web",))
    soon = replace(READY, in_flight={"container/web": InFlight("StopContainer", NOW, kill_at=NOW + 20)})
    assert plan(progress=soon, termination=DELETED) == PodPlan()


# --- holding back -------------------------------------------------------------------------------------------


def test_what_is_in_flight_is_not_begun_again() -> None:
    busy = replace(READY, in_flight={"container/web": InFlight("CreateContainer", NOW)})
    assert plan(observed=facts(), progress=busy) == PodPlan()


def test_a_failure_waits_for_its_retry_and_holds_up_nothing_else() -> None:
    other = builders.container("other")
    pod = with_spec(containers=(WEB, other))
    failure = Failure("ErrImagePull", "no", NOW, retry_at=NOW + 3)
    failed = Progress(volumes={}, failures={"EnsureImage:container/web": failure})
    held = plan(pod, facts(), failed)
    waited_out = frozenset({"EnsureImage:container/web"})
    assert held == PodPlan((EnsureImage("other", 0),), next_look=NOW + 3, held=waited_out)
    assert EnsureImage("web", 0) in plan(pod, facts(), failed, now=NOW + 3).actions
