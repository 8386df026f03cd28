"""Pods from creation to removal on the fake runtime, on virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import msgspec

from agent.pods.ports import ProbeVerdict, Unavailable
from kubeapi.pod import Container, ExecAction, Lifecycle, LifecycleHandler, Pod, PodStatus, Probe
from tests import builders
from tests.fakes.fake_runtime import Fault, Program
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually

Scenario = Callable[[PodWorld], Awaitable[None]]


def play(scenario: Scenario, **world: int) -> PodWorld:
    """The scenario in a fresh world with a running agent; the runtime's own rules must hold throughout."""

    async def main() -> PodWorld:
        stage = PodWorld(**world)
        stage.start()
        await scenario(stage)
        await stage.crash()
        return stage

    stage = run_virtually(main())
    assert stage.runtime.violations == []
    return stage


def new_pod(name: str = "web-1", **spec: object) -> Pod:
    pod = builders.pod(name, spec=spec)
    return msgspec.structs.replace(pod, status=PodStatus())


def states(world: PodWorld, pod: Pod) -> tuple[str, ...]:
    """The waiting or terminated reason of each app container, or running."""
    found = []
    for status in world.api.status(pod.uid).container_statuses:
        state = status.state
        if state.running is not None:
            found.append("running")
        else:
            found.append((state.waiting or state.terminated or builders.condition("none")).reason)
    return tuple(found)


def test_a_pod_starts_with_three_calls_and_becomes_ready() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        assert await world.wait(lambda: world.is_ready(uid)) < 0.3  # 3 calls of 0.05 s each

    world = play(scenario)
    changing = [call.rpc for call in world.runtime.calls if not call.rpc.startswith(("List", "Read"))]
    assert changing == ["RunPodSandbox", "CreateContainer", "StartContainer"]


def test_a_converged_pod_is_left_alone() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        await asyncio.sleep(0.1)
        before, writes = len(world.runtime.calls), len(world.api.history[uid])
        await asyncio.sleep(60)
        relists = [call for call in world.runtime.calls[before:] if call.target == ""]
        assert len(relists) == len(world.runtime.calls) - before
        assert len(world.api.history[uid]) == writes

    play(scenario)


def test_deletion_stops_the_containers_and_leaves_nothing() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid)
        assert await world.wait(lambda: uid not in world.api.pods) < 0.5

    world = play(scenario)
    assert world.runtime.is_empty
    assert not world.files.pods
    assert not world.volumes.prepared
    assert not world.checkpoint.records
    stop = [call.rpc for call in world.runtime.calls if call.rpc.startswith(("Stop", "Remove"))]
    assert stop == ["StopContainer", "StopPodSandbox", "RemovePodSandbox"]


def test_the_last_status_of_a_deleted_pod_tells_how_it_ended() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid)
        await world.wait(lambda: uid not in world.api.pods)

    world = play(scenario)
    status = world.api.status(new_pod().uid)
    ended = status.container_statuses[0].state.terminated
    assert status.phase == "Failed"
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (143, "Error")


def test_a_container_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(term_seconds=None)
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid, grace_seconds=7)
        assert 7 <= await world.wait(lambda: uid not in world.api.pods) < 8

    play(scenario)


def test_a_shorter_grace_period_takes_effect_while_the_longer_one_runs() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(term_seconds=None)
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid, grace_seconds=600)
        await asyncio.sleep(5)
        world.delete(uid, grace_seconds=6)
        assert await world.wait(lambda: uid not in world.api.pods) < 3

    play(scenario)


def test_a_pod_deleted_by_force_goes_too() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete_by_force(uid)
        await world.wait(lambda: world.runtime.is_empty)
        await asyncio.sleep(2)

    world = play(scenario)
    assert not world.checkpoint.records
    assert not world.files.pods


def test_crashes_back_off_doubling_and_the_status_says_so() -> None:
    pod = new_pod()

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(seconds=1, exit_code=3)
        world.create(pod)
        await world.wait(lambda: "CrashLoopBackOff" in states(world, pod))
        await world.wait(lambda: world.runtime.count("StartContainer") == 6)

    world = play(scenario)
    starts = [call.at for call in world.runtime.calls if call.rpc == "StartContainer"]
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
    # One second of running, up to one of noticing, then the back-off from the exit.
    assert gaps[0] <= 3
    assert gaps[1:] == [11, 21, 41, 81]
    messages = {
        container["state"]["waiting"].get("message", "")
        for status in world.api.history[pod.uid]
        for container in status["containerStatuses"]
        if container["state"].get("waiting")
    }
    assert f"back-off 10s restarting failed container=web pod=web-1_default({pod.uid})" in messages
    assert f"back-off 1m20s restarting failed container=web pod=web-1_default({pod.uid})" in messages


def test_only_the_newest_and_the_previous_attempt_are_kept() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(seconds=1, exit_code=3)
        world.create(new_pod())
        await world.wait(lambda: world.runtime.count("StartContainer") == 5)
        await asyncio.sleep(0.5)
        assert len(await world.runtime.list_containers()) == 2

    play(scenario)


def test_a_job_that_ends_well_succeeds_and_gives_its_sandbox_back() -> None:
    pod = new_pod(restart_policy="Never")

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(seconds=5)
        world.create(pod)
        await world.wait(lambda: world.api.status(pod.uid).phase == "Succeeded")
        await asyncio.sleep(5)
        assert not any(sandbox.ready for sandbox in await world.runtime.list_pod_sandboxes())

    world = play(scenario)
    assert states(world, pod) == ("Completed",)
    assert world.runtime.count("StartContainer") == 1
    ready = next(c for c in world.api.status(pod.uid).conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "PodCompleted")


def test_on_failure_restarts_until_it_ends_well() -> None:
    pod = new_pod(restart_policy="OnFailure")

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(seconds=1, exit_code=1)
        world.create(pod)
        await world.wait(lambda: world.runtime.count("StartContainer") == 1)
        world.runtime.programs["web"] = Program(seconds=1)
        await world.wait(lambda: world.api.status(pod.uid).phase == "Succeeded")

    assert play(scenario).api.status(pod.uid).container_statuses[0].restart_count == 1


def test_init_containers_run_in_order_before_the_apps() -> None:
    inits = (builders.container("first"), builders.container("second"))
    pod = new_pod(init_containers=inits)

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs |= {"first": Program(seconds=3), "second": Program(seconds=3)}
        world.create(pod)
        await world.wait(lambda: world.runtime.count("StartContainer") == 1)
        await asyncio.sleep(1.5)  # a step of a start is written once it has lasted a second
        assert states(world, pod) == ("PodInitializing",)
        assert world.api.status(pod.uid).phase == "Pending"
        await world.wait(lambda: world.is_ready(pod.uid))

    world = play(scenario)
    created = [call.target.split("_")[0] for call in world.runtime.calls if call.rpc == "CreateContainer"]
    assert created == ["first", "second", "web"]


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = new_pod(init_containers=(builders.container("first"),), restart_policy="Never")

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["first"] = Program(seconds=1, exit_code=2)
        world.create(pod)
        await world.wait(lambda: world.api.status(pod.uid).phase == "Failed")

    assert play(scenario).runtime.count("CreateContainer") == 1


def test_a_sidecar_starts_before_the_app_and_stops_after_it() -> None:
    sidecar = builders.container("proxy", restart_policy="Always")
    pod = new_pod(init_containers=(sidecar,))

    async def scenario(world: PodWorld) -> None:
        uid = world.create(pod)
        await world.wait(lambda: world.is_ready(uid))
        assert len(world.runtime.live_containers()) == 2
        world.delete(uid)
        await world.wait(lambda: uid not in world.api.pods)

    world = play(scenario)
    ids = [call.target for call in world.runtime.calls if call.rpc == "StartContainer"]
    stops = [call.target for call in world.runtime.calls if call.rpc == "StopContainer"]
    assert stops == list(reversed(ids))


def test_a_failed_liveness_probe_restarts_the_container() -> None:
    probed = builders.container(liveness_probe=Probe(exec=ExecAction(command=("true",))))
    pod = new_pod(containers=(probed,))

    async def scenario(world: PodWorld) -> None:
        uid = world.create(pod)
        await world.wait(lambda: world.is_ready(uid))
        world.probes.verdicts["web"] = ProbeVerdict(started=True, ready=False, live=False)
        assert world.lanes is not None
        world.lanes.note_verdict(uid)
        await world.wait(lambda: world.runtime.count("StopContainer") == 1)
        world.probes.verdicts.clear()
        await world.wait(lambda: world.runtime.count("StartContainer") == 2)

    world = play(scenario)
    killing = [event.message for event in world.events.events if event.reason == "Killing"]
    assert killing == ["Container web failed liveness probe, will be restarted"]


def test_hooks_run_after_the_start_and_before_the_stop() -> None:
    def hook(word: str) -> LifecycleHandler:
        return LifecycleHandler(exec=ExecAction(command=(word,)))

    hooked = builders.container(lifecycle=Lifecycle(post_start=hook("hello"), pre_stop=hook("bye")))

    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod(containers=(hooked,)))
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid)
        await world.wait(lambda: uid not in world.api.pods)

    world = play(scenario)
    told = [c.rpc if c.rpc != "ExecSync" else c.target for c in world.runtime.calls]
    order = [word for word in told if word in ("StartContainer", "hello", "bye", "StopContainer")]
    assert order == ["StartContainer", "hello", "bye", "StopContainer"]


def test_a_hook_that_a_crash_cut_short_runs_again_and_one_that_is_behind_does_not() -> None:
    hooked = builders.container(
        lifecycle=Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=("hello",))))
    )

    async def scenario(world: PodWorld) -> None:
        world.runtime.fail_next("ExecSync", Fault.HANG)
        uid = world.create(new_pod(containers=(hooked,)))
        await world.wait(lambda: world.runtime.count("ExecSync") == 1)
        for _ in range(3):
            await world.crash()
            world.start()
            await world.wait(lambda: world.is_ready(uid))

    assert play(scenario).runtime.count("ExecSync") == 2


def test_an_image_that_is_missing_keeps_only_its_own_container_waiting() -> None:
    other = builders.container("other", image="berth.local/absent:1")
    pod = new_pod(containers=(builders.container(), other))

    async def scenario(world: PodWorld) -> None:
        refusal = Unavailable("ErrImageNeverPull", "the image isn't there")
        world.images.refusals["berth.local/absent:1"] = refusal
        uid = world.create(pod)
        await world.wait(lambda: states(world, pod) == ("running", "ErrImageNeverPull"))
        world.images.refusals.clear()
        await world.wait(lambda: world.is_ready(uid))

    play(scenario)


def test_a_start_error_shows_and_backs_off() -> None:
    pod = new_pod()

    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(start_error="exec: no such file")
        world.create(pod)
        await world.wait(lambda: "CrashLoopBackOff" in states(world, pod))

    world = play(scenario)
    last = world.api.status(pod.uid).container_statuses[0].last_state.terminated
    assert last is not None
    assert (last.reason, last.exit_code) == ("StartError", 128)


def test_a_dead_sandbox_is_replaced_and_its_containers_follow() -> None:
    pod = new_pod()

    async def scenario(world: PodWorld) -> None:
        uid = world.create(pod)
        await world.wait(lambda: world.is_ready(uid))
        (sandbox,) = await world.runtime.list_pod_sandboxes()
        world.runtime.kill_sandbox(sandbox.id)
        await world.wait(lambda: world.runtime.count("StartContainer") == 2)
        await world.wait(lambda: world.is_ready(uid))
        await asyncio.sleep(3)
        assert [s.ready for s in await world.runtime.list_pod_sandboxes()].count(True) == 1
        assert len(world.runtime.live_containers()) == 1

    assert play(scenario).api.status(pod.uid).container_statuses[0].restart_count == 1


def test_a_reboot_brings_the_pods_back() -> None:
    async def scenario(world: PodWorld) -> None:
        uids = [world.create(new_pod(f"web-{number}")) for number in range(5)]
        await world.wait(lambda: all(map(world.is_ready, uids)))
        await world.crash()
        world.runtime.reboot()
        world.api.reachable = False
        world.start()
        await world.wait(lambda: len(world.runtime.live_containers()) == 5)
        world.api.reachable = True
        world.sync()
        await world.wait(lambda: all(map(world.is_ready, uids)))

    play(scenario)


def test_a_restart_of_the_agent_is_invisible() -> None:
    async def scenario(world: PodWorld) -> None:
        uids = [world.create(new_pod(f"web-{number}")) for number in range(5)]
        await world.wait(lambda: all(map(world.is_ready, uids)))
        ids = {container.id for container in world.runtime.live_containers()}
        for _ in range(10):
            await world.crash()
            world.start()
            await asyncio.sleep(3)
        assert {container.id for container in world.runtime.live_containers()} == ids
        for uid in uids:
            ready = [
                condition["status"]
                for status in world.api.history[uid]
                for condition in status["conditions"]
                if condition["type"] == "Ready"
            ]
            assert ready == sorted(ready)  # False..., then True for good

    world = play(scenario)
    assert world.runtime.count("StopContainer") == 0


def test_a_deletion_in_progress_finishes_after_a_crash() -> None:
    async def scenario(world: PodWorld) -> None:
        world.runtime.programs["web"] = Program(term_seconds=None)
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        world.delete(uid, grace_seconds=20)
        await asyncio.sleep(10)
        await world.crash()
        world.start()
        assert 9 <= await world.wait(lambda: uid not in world.api.pods) <= 11

    assert play(scenario).runtime.is_empty


def test_sandboxes_that_no_source_wants_are_removed() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        await world.wait(lambda: world.is_ready(uid))
        await world.crash()
        world.checkpoint.records.clear()
        del world.api.pods[uid]
        world.start()
        await world.wait(lambda: world.runtime.is_empty)

    play(scenario)


def test_a_hanging_volume_and_a_hanging_sandbox_leave_other_pods_alone() -> None:
    async def scenario(world: PodWorld) -> None:
        stuck = world.create(new_pod("stuck-1"))
        world.volumes.hanging.add(stuck)
        world.runtime.fail_next("RunPodSandbox", Fault.HANG)
        world.create(new_pod("stuck-2"))
        await asyncio.sleep(0.2)
        fine = world.create(new_pod("fine-1"))
        assert await world.wait(lambda: world.is_ready(fine)) < 0.5
        world.delete(stuck)
        await world.wait(lambda: stuck not in world.api.pods, seconds=120)

    play(scenario)


def test_a_refused_pod_fails_with_the_reason() -> None:
    async def scenario(world: PodWorld) -> None:
        first = world.create(new_pod("web-1"))
        second = world.create(new_pod("web-2"))
        await world.wait(lambda: world.is_ready(first))
        await world.wait(lambda: world.api.status(second).phase == "Failed")
        status = world.api.status(second)
        assert status.reason == "OutOfpods"
        assert "requested: 1, used: 1, capacity: 1" in status.message

    assert play(scenario, max_pods=1).runtime.count("RunPodSandbox") == 1


def test_a_pod_past_its_active_deadline_fails() -> None:
    pod = new_pod(active_deadline_seconds=20)

    async def scenario(world: PodWorld) -> None:
        uid = world.create(pod)
        assert 20 <= await world.wait(lambda: world.api.status(uid).phase == "Failed") < 22
        await world.wait(lambda: not world.runtime.live_containers())

    assert play(scenario).api.status(pod.uid).reason == "DeadlineExceeded"


def test_statuses_reach_an_api_server_that_was_away() -> None:
    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod())
        world.api.reachable = False
        await asyncio.sleep(30)
        assert not world.is_ready(uid)
        world.api.reachable = True
        assert await world.wait(lambda: world.is_ready(uid)) < 11

    play(scenario)


def test_a_look_that_is_under_way_when_a_call_returns_is_not_believed() -> None:
    """Lists asked for before a call's effect arrive after its answer: nothing may be done twice for that."""

    async def scenario(world: PodWorld) -> None:
        uids = [world.create(new_pod(f"web-{number}")) for number in range(20)]
        for _ in range(400):
            await asyncio.sleep(0.001)
            for uid in uids:
                world.lanes.note_event(uid)  # type: ignore[union-attr]
        await world.wait(lambda: all(map(world.is_ready, uids)))

    world = play(scenario)
    assert world.runtime.refused_names == []
    assert world.runtime.count("RunPodSandbox") == 20
    assert world.runtime.count("CreateContainer") == 20


def test_app_containers_start_side_by_side() -> None:
    containers: tuple[Container, ...] = tuple(builders.container(f"app-{number}") for number in range(4))

    async def scenario(world: PodWorld) -> None:
        uid = world.create(new_pod(containers=containers))
        assert await world.wait(lambda: world.is_ready(uid)) < 0.3

    play(scenario)
