"""Containers start in order, crash, come back, finish and are stopped, with the words that people know."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from kubeapi.pod import Pod
from kubeapi.resources import PODS
from lab.errors import LabError
from tests.cluster.scene import (
    Document,
    Scene,
    build_pod,
    build_shell,
    find_status,
    is_absent,
    is_in_phase,
    is_waiting,
)

NO_REGISTRY = "127.0.0.1:1/nobody/here:1"


# --- crashing and finishing ---------------------------------------------------------------------------------


async def test_a_container_that_crashes_again_and_again_is_held_back(scene: Scene) -> None:
    await scene.create(PODS, build_pod("crash", build_shell("echo bye; exit 3")))

    pod = await scene.wait_for_pod(
        "crash", lambda pod: is_waiting("CrashLoopBackOff")(pod) and pod.status.phase == "Running"
    )

    status = pod.status.container_statuses[0]
    assert status.state.waiting is not None
    assert status.last_state.terminated is not None
    named = f"pod=crash_{scene.namespace}({pod.metadata.uid})"
    assert status.state.waiting.message == f"back-off 10s restarting failed container=main {named}"
    assert (status.last_state.terminated.exit_code, status.last_state.terminated.reason) == (3, "Error")
    assert status.restart_count == 1, "the first restart is at once"
    assert await scene.read_log("crash", "--previous") == "bye\n"
    await scene.wait_for_event("crash", "BackOff", "Back-off restarting failed container main in pod crash_")


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded")],
)
async def test_a_pod_that_runs_to_its_end(scene: Scene, policy: str, code: int, phase: str) -> None:
    await scene.create(PODS, build_pod("once", build_shell(f"exit {code}"), restartPolicy=policy))

    pod = await scene.wait_for_pod("once", is_in_phase(phase))

    ended = pod.status.container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (code, "Error" if code else "Completed")
    assert pod.status.container_statuses[0].restart_count == 0


async def test_what_a_container_says_at_its_end_is_in_its_status(scene: Scene) -> None:
    script = "echo -n 'the disk is full' > /dev/termination-log; exit 2"
    await scene.create(PODS, build_pod("telling", build_shell(script), restartPolicy="Never"))

    pod = await scene.wait_for_pod("telling", is_in_phase("Failed"))

    ended = pod.status.container_statuses[0].state.terminated
    assert ended is not None
    assert ended.message == "the disk is full"


# --- order --------------------------------------------------------------------------------------------------


async def test_init_containers_run_in_order_and_a_sidecar_beside_the_rest(scene: Scene) -> None:
    mount: Document = {"volumeMounts": [{"name": "log", "mountPath": "/log"}]}
    sidecar = "echo sidecar >> /log/log; trap 'exit 0' TERM; while :; do sleep 0.05; done"
    await scene.create(
        PODS,
        build_pod(
            "ordered",
            build_shell("echo main >> /log/log; cat /log/log", **mount),
            initContainers=[
                build_shell("sleep 0.2; echo first >> /log/log", name="first", **mount),
                build_shell(sidecar, name="sidecar", restartPolicy="Always", **mount),
                build_shell(
                    "until grep -q sidecar /log/log; do sleep 0.05; done; echo second >> /log/log",
                    name="second",
                    **mount,
                ),
            ],
            volumes=[{"name": "log", "emptyDir": {}}],
            restartPolicy="Never",
        ),
    )

    pod = await scene.wait_for_pod("ordered", is_in_phase("Succeeded"))

    assert (await scene.read_log("ordered", "--container=main")).split() == [
        "first",
        "sidecar",
        "second",
        "main",
    ]
    ended = find_status(pod, "sidecar")
    assert ended is not None
    assert ended.state.terminated is not None, "a sidecar doesn't outlive what it served"


async def test_a_failed_init_container_ends_a_pod_that_may_not_restart(scene: Scene) -> None:
    await scene.create(
        PODS,
        build_pod(
            "stuck", build_shell(), initContainers=[build_shell("exit 4", name="init")], restartPolicy="Never"
        ),
    )

    pod = await scene.wait_for_pod("stuck", is_in_phase("Failed"))

    initialized = next(each for each in pod.status.conditions if each.type == "Initialized")
    assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
    main = find_status(pod, "main")
    assert main is not None
    assert main.state.waiting is not None
    assert main.state.waiting.reason == "PodInitializing"


# --- deletion -----------------------------------------------------------------------------------------------


async def test_a_deleted_pod_is_asked_to_end_and_given_its_time(scene: Scene) -> None:
    script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    hook = {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1; sleep 0.5"]}}
    await scene.start_pod(
        build_pod("polite", build_shell(script, lifecycle={"preStop": hook}), grace_seconds=20)
    )
    log = asyncio.create_task(scene.read_log("polite", "--follow"))
    await scene.run_in_pod("polite", "true")

    started = time.monotonic()
    await scene.delete_pod("polite")
    await scene.wait_until_gone(PODS, "polite")

    assert (await log).split() == ["up", "hook", "asked"]
    assert 0.5 <= time.monotonic() - started < 5
    await scene.wait_for_event("polite", "Killing", "Stopping container main")


async def test_a_pod_that_does_not_end_is_killed_after_its_grace_period(scene: Scene) -> None:
    await scene.start_pod(
        build_pod("deaf", build_shell("trap '' TERM; while :; do sleep 0.05; done"), grace_seconds=2)
    )
    states: list[Pod] = []

    async def follow() -> None:
        async with aclosing(scene.follow(PODS, "metadata.name=deaf")) as pods:
            async for pod in pods:
                if pod is None:
                    return
                states.append(pod)

    following = asyncio.create_task(follow())
    started = time.monotonic()
    await scene.delete_pod("deaf")
    await following

    assert 2 <= time.monotonic() - started < 5
    ended = states[-1].status.container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (137, "Error")


async def test_a_shorter_grace_period_counts_from_then_on(scene: Scene) -> None:
    deaf = build_shell("trap '' TERM; while :; do sleep 0.05; done")
    await scene.start_pod(build_pod("deaf", deaf, grace_seconds=600))

    await scene.delete_pod("deaf")
    await scene.wait_for_event("deaf", "Killing")
    await scene.delete_pod("deaf", grace_period_seconds=1)

    await scene.wait_until_gone(PODS, "deaf", seconds=10)


async def test_a_pod_deleted_by_force_is_gone_at_once_and_then_its_containers(scene: Scene) -> None:
    pod = await scene.start_pod(build_pod("forced", grace_seconds=600))
    netns = await scene.find_netns(pod)

    await scene.delete_pod("forced", grace_period_seconds=0)

    assert await is_absent(scene, "forced")
    deadline = time.monotonic() + 10
    while netns.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


# --- images -------------------------------------------------------------------------------------------------


async def test_an_image_that_cannot_be_pulled_is_said_so_and_tried_again_later(scene: Scene) -> None:
    reasons: list[str] = []
    await scene.create(PODS, build_pod("imageless", {"name": "main", "image": NO_REGISTRY}))

    def note(pod: Pod) -> bool:
        status = find_status(pod)
        if status is not None and status.state.waiting is not None:
            reasons.append(status.state.waiting.reason)
        return "ImagePullBackOff" in reasons

    pod = await scene.wait_for_pod("imageless", note)

    assert list(dict.fromkeys(reasons))[-2:] == ["ErrImagePull", "ImagePullBackOff"]
    waiting = pod.status.container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.message.startswith(f'Back-off pulling image "{NO_REGISTRY}"')
    assert pod.status.phase == "Pending"
    await scene.wait_for_event("imageless", "Failed", f'Failed to pull image "{NO_REGISTRY}"')
    await scene.wait_for_event("imageless", "BackOff", f'Back-off pulling image "{NO_REGISTRY}"')
    with pytest.raises(LabError, match="is waiting to start"):
        await scene.read_log("imageless")


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        (NO_REGISTRY, "Never", "ErrImageNeverPull"),
        ("No Such Name", "IfNotPresent", "InvalidImageName"),
    ],
)
async def test_an_image_that_is_not_to_be_pulled(scene: Scene, image: str, policy: str, reason: str) -> None:
    container = {"name": "main", "image": image, "imagePullPolicy": policy}
    await scene.create(PODS, build_pod("imageless", container))

    await scene.wait_for_pod("imageless", is_waiting(reason))
