"""`berth explain pod` on a node: where a pod's time went and what it waits for, also when nobody else is
there to be asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from kubeapi.pod import Pod
from kubeapi.resources import NODES, PODS
from lab.cluster import Cluster, NodePart
from tests.cluster.scene import Scene, build_pod, build_shell, build_web, is_ready, is_waiting

NODE = "n1"
STORY_SECONDS = 45.0  # a write that nobody answers is one after 5 s; the machine may be busy


async def explain(scene: Scene, pod: str, *options: str) -> tuple[int, str, str]:
    """Exit code, output and error output of the command, run as a person would on the node."""
    command = [sys.executable, "-m", "cli.main", "explain", "pod", f"{scene.namespace}/{pod}", *options]
    done = await asyncio.to_thread(scene.cluster.exec, NODE, command)
    return done.returncode, done.stdout, done.stderr


async def wait_for_story(scene: Scene, pod: str, is_wanted: Callable[[Any], bool]) -> Any:
    """The pod's story as JSON, once it tells what is wanted."""
    story: Any = None
    for _ in range(round(STORY_SECONDS / 0.5)):
        code, output, _ = await explain(scene, pod, "-o", "json")
        story = json.loads(output) if code == 0 else None
        if story is not None and is_wanted(story):
            return story
        await asyncio.sleep(0.5)
    raise AssertionError(f"the story of {pod} never told that; at last: {story}")


def waits_for(reason: str) -> Callable[[Any], bool]:
    return lambda story: any(wait["reason"] == reason for wait in story["waits"])


@asynccontextmanager
async def without_the_server(cluster: Cluster) -> AsyncIterator[None]:
    await asyncio.to_thread(cluster.kill_server)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.restart_server)


async def test_a_pod_that_runs_waits_for_nothing_and_tells_where_its_time_went(scene: Scene) -> None:
    await scene.client.create(PODS, build_pod("web", build_web(), node=NODE), scene.namespace)
    await scene.wait_for_pod("web", is_ready)

    story = await wait_for_story(scene, "web", lambda story: story["ready"] and not story["waits"])
    phases = {f"{phase['name']} {phase['container']}".strip(): phase["seconds"] for phase in story["phases"]}
    steps = ("volumes", "sandbox", "image web", "create web", "start web", "start to ready web")
    assert set(steps) <= phases.keys()
    assert phases["sandbox"] + phases["create web"] + phases["start web"] < phases["to Ready"]
    told = [entry["what"] for entry in story["timeline"]]
    order = ["seen", "admitted", "RunPodSandbox", "CreateContainer", "StartContainer", "ready", "Ready"]
    assert [what for what in told if what in order] == order


async def test_the_end_of_a_pod_is_told_after_it(scene: Scene) -> None:
    stubborn = build_shell("trap '' TERM; while :; do sleep 0.2; done")
    await scene.client.create(
        PODS, build_pod("stubborn", stubborn, node=NODE, grace_seconds=4), scene.namespace
    )
    await scene.wait_for_pod("stubborn", is_ready)
    await scene.delete_pod("stubborn")

    story = await wait_for_story(scene, "stubborn", waits_for("Killing"))
    (wait,) = (wait for wait in story["waits"] if wait["reason"] == "Killing")
    assert wait["callInFlight"]["name"] == "StopContainer of container main"
    assert wait["nextRetry"] is not None

    await scene.wait_until_gone(PODS, "stubborn")
    story = await wait_for_story(scene, "stubborn", lambda story: story["gone"])
    phases = {phase["name"]: phase["seconds"] for phase in story["phases"]}
    assert phases["stop"] >= 3.5
    assert phases["from deletion to gone"] >= phases["stop"]
    assert {"stop sandbox", "remove sandbox", "delete API object"} <= phases.keys()


async def test_a_pull_that_fails_an_init_container_and_a_crash_loop_are_explained_without_the_server(
    scene: Scene, cluster: Cluster
) -> None:
    unreachable = {"name": "main", "image": "127.0.0.1:1/no/such:1"}
    slow = build_shell("exec sleep 600", name="slow")
    crash = build_shell("sleep 2; exit 3")
    for document in (
        build_pod("pull", unreachable, node=NODE),
        build_pod("init", node=NODE, initContainers=[slow]),
        build_pod("crash", crash, node=NODE),
    ):
        await scene.client.create(PODS, document, scene.namespace)
    await scene.wait_for_pod("pull", is_waiting("ImagePullBackOff"))
    await scene.wait_for_pod("crash", is_waiting("CrashLoopBackOff"))

    async with without_the_server(cluster):
        pull = await wait_for_story(scene, "pull", waits_for("ImagePullBackOff"))
        assert "127.0.0.1:1/no/such:1" in pull["waits"][0]["message"]
        assert pull["waits"][0]["nextRetry"] is not None or pull["waits"][0]["callInFlight"] is not None

        init = await wait_for_story(scene, "init", waits_for("PodInitializing"))
        said = {wait["what"]: wait["message"] for wait in init["waits"]}
        assert said["container main"] == "it waits for the init container slow"

        crashed = await wait_for_story(scene, "crash", waits_for("CrashLoopBackOff"))
        (loop,) = (wait for wait in crashed["waits"] if wait["reason"] == "CrashLoopBackOff")
        assert "exit code 3" in loop["message"]
        assert loop["since"] < loop["nextRetry"]
        # Its status changes while nobody takes it: that is a wait, too.
        await wait_for_story(scene, "crash", waits_for("StatusNotWritten"))

        code, text, _ = await explain(scene, "pull")
        assert code == 0
        assert "container main: ImagePullBackOff" in text or "container main: ErrImagePull" in text
        assert "The agent runs" in text
    await wait_for_story(scene, "crash", lambda story: not waits_for("StatusNotWritten")(story))


async def test_a_dead_agent_s_pods_are_explained_as_of_its_death(scene: Scene, cluster: Cluster) -> None:
    missing = {"name": "data", "configMap": {"name": "absent"}}
    await scene.client.create(PODS, build_pod("mounts", node=NODE, volumes=[missing]), scene.namespace)
    await wait_for_story(scene, "mounts", waits_for("FailedMount"))
    await asyncio.to_thread(cluster.kill_node, NODE, NodePart.AGENT)
    try:
        story = await wait_for_story(scene, "mounts", waits_for("FailedMount"))
        assert 'configmap "absent" not found' in next(
            wait["message"] for wait in story["waits"] if wait["what"] == "volumes"
        )
        as_of = story["asOf"]
        await asyncio.sleep(1.5)
        assert (await wait_for_story(scene, "mounts", waits_for("FailedMount")))["asOf"] == as_of
    finally:
        await asyncio.to_thread(cluster.restart_node, NODE, NodePart.AGENT)
    resumed = await wait_for_story(
        scene, "mounts", lambda story: any(e["what"] == "agent restarted" for e in story["timeline"])
    )
    assert resumed["asOf"] > as_of


async def test_a_pod_that_never_was_is_one_line(scene: Scene) -> None:
    code, output, error = await explain(scene, "nobody")
    assert (code, output) == (1, "")
    assert error.startswith(f"berth: this node has had no pod {scene.namespace}/nobody ")
    assert error.count("\n") == 1


async def find_shim(scene: Scene, pod: Pod) -> int:
    """The process through which the runtime works this pod's containers: their parent."""
    netns = await scene.find_netns(pod)
    status = (netns.parents[1] / "status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


@asynccontextmanager
async def stopped(process: int) -> AsyncIterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def test_a_pod_whose_runtime_hangs_says_so_within_30_seconds_and_no_other_pod_notices(
    scene: Scene,
) -> None:
    await scene.client.create(PODS, build_pod("stuck", node=NODE), scene.namespace)
    stuck = await scene.wait_for_pod("stuck", is_ready)
    async with stopped(await find_shim(scene, stuck)):
        began = time.monotonic()
        await scene.delete_pod("stuck")
        # It is given its grace period of a second, and 20 s on top.
        event = await scene.wait_for_event("stuck", "FailedKillContainer", "StopContainer of container main")
        assert time.monotonic() - began < 30
        assert event.type == "Warning"
        story = await wait_for_story(scene, "stuck", waits_for("Killing"))
        (wait,) = (wait for wait in story["waits"] if wait["reason"] == "Killing")
        assert "has not returned since" in wait["message"]
        assert wait["callInFlight"]["name"] == "StopContainer of container main"

        started = time.monotonic()
        await scene.client.create(PODS, build_pod("fine", node=NODE), scene.namespace)
        await scene.wait_for_pod("fine", is_ready)
        assert time.monotonic() - started < 10
        node = await scene.client.get(NODES, NODE)
        assert next(each.status for each in node.status.conditions if each.type == "Ready") == "True"
    await scene.wait_until_gone(PODS, "stuck", seconds=120)
