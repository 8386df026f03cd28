"""The relist: fingerprints of pods, hints, and a runtime that doesn't answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import RuntimeUnimplemented
from agent.runtime.relist import Fingerprint, Relist, compute_fingerprint, group_by_pod, watch_hints
from agent.runtime.values import ContainerState, RuntimeContainer, RuntimeSandbox
from kubeapi.pod import PodUID
from tests.fakes.fake_runtime import FakeRuntime, Fault

SANDBOX = RuntimeSandbox(SandboxID("s"), PodUID("u"), "web", "default", 0, True, 0.0)
CONTAINER = RuntimeContainer(
    ContainerID("c"),
    SandboxID("s"),
    "main",
    0,
    ContainerState.RUNNING,
    0.0,
    labels={"io.kubernetes.pod.uid": "u"},
)


def test_a_fingerprint_changes_with_every_state() -> None:
    assert compute_fingerprint((SANDBOX,), (CONTAINER,)) == {("s", "ready"), ("c", "running")}


def test_pods_are_told_apart() -> None:
    other = RuntimeSandbox(SandboxID("t"), PodUID("v"), "x", "default", 0, False, 0.0)
    assert group_by_pod((SANDBOX, other), (CONTAINER,)) == {
        "u": {("s", "ready"), ("c", "running")},
        "v": {("t", "notready")},
    }


async def test_a_runtime_that_does_not_answer_is_named_and_asked_again() -> None:
    runtime = FakeRuntime(now=lambda: 0.0)
    runtime.fail_next("ListPodSandbox", Fault.UNAVAILABLE)
    seen: list[Mapping[PodUID, Fingerprint]] = []
    relist = Relist(runtime, seen.append, interval_seconds=0.01)
    task = asyncio.create_task(relist.run())
    await asyncio.sleep(0.005)
    assert "scripted broken connection" in relist.trouble
    async with asyncio.timeout(5):
        while not seen:  # noqa: ASYNC110 - the relist tells only of its looks
            await asyncio.sleep(0.005)
    assert relist.trouble == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_hints_are_passed_on_until_the_runtime_has_none() -> None:
    hints: list[PodUID] = []

    async def watch() -> AsyncIterator[PodUID]:
        yield PodUID("u")
        raise RuntimeUnimplemented("no GetContainerEvents")

    await watch_hints(watch, hints.append)
    assert hints == ["u"]
