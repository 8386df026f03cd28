"""A running pod is resized as people do it: with kubectl, through the API server, down to the cgroup."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from kubeapi.pod import Pod
from kubeapi.resources import PODS
from tests.cluster.scene import Scene, build_pod, build_shell


def sized(cpu: str, memory: str) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory}
    return {"requests": amounts, "limits": amounts}


async def resize(scene: Scene, name: str, resources: dict[str, Any]) -> None:
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    command = ("patch", "pod", name, "--subresource=resize", "-n", scene.namespace, "-p", json.dumps(patch))
    await asyncio.to_thread(scene.kubectl.run, *command)


def has(cpu: str, memory: str) -> Any:
    def is_there(pod: Pod) -> bool:
        resources = pod.status.container_statuses[0].resources
        pending = [each for each in pod.status.conditions if each.type.startswith("PodResize")]
        return (
            resources is not None and dict(resources.limits) == {"cpu": cpu, "memory": memory} and not pending
        )

    return is_there


def is_pending(reason: str) -> Any:
    def is_there(pod: Pod) -> bool:
        return any(
            each.type == "PodResizePending" and each.reason == reason for each in pod.status.conditions
        )

    return is_there


async def read_limits(scene: Scene, name: str) -> tuple[int, int]:
    """CPU quota in microseconds and memory in bytes, as the container itself sees them."""
    script = (
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
        " || { cut -d' ' -f1 /sys/fs/cgroup/cpu.max; cat /sys/fs/cgroup/memory.max; }"
    )
    command = ("exec", name, "-n", scene.namespace, "--", "sh", "-c", script)
    quota, memory = (await asyncio.to_thread(scene.kubectl.run, *command)).split()
    return int(quota), int(memory)


async def test_kubectl_resizes_a_running_pod(scene: Scene) -> None:
    main = build_shell(resources=sized("100m", "64Mi"))
    before = await scene.start_pod(build_pod("grow", main))
    assert await read_limits(scene, "grow") == (10_000, 64 << 20)

    await resize(scene, "grow", sized("200m", "128Mi"))

    after = await scene.wait_for_pod("grow", has("200m", "128Mi"))
    assert await read_limits(scene, "grow") == (20_000, 128 << 20)
    (old,), (new,) = before.status.container_statuses, after.status.container_statuses
    assert (new.container_id, new.restart_count) == (old.container_id, 0)
    assert dict(new.allocated_resources) == {"cpu": "200m", "memory": "128Mi"}
    assert after.status.observed_generation == after.metadata.generation == before.metadata.generation + 1
    await scene.wait_for_event("grow", "ResizeCompleted", "Pod resize completed: {")

    await resize(scene, "grow", sized("100m", "64Mi"))
    await scene.wait_for_pod("grow", has("100m", "64Mi"))
    assert await read_limits(scene, "grow") == (10_000, 64 << 20)


async def test_memory_that_asks_for_a_restart_gets_one(scene: Scene) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    main = build_shell(resources=sized("100m", "64Mi"), resizePolicy=policy)
    await scene.start_pod(build_pod("again", main))

    await resize(scene, "again", sized("100m", "128Mi"))

    pod = await scene.wait_for_pod(
        "again", lambda pod: has("100m", "128Mi")(pod) and pod.status.container_statuses[0].ready
    )
    assert pod.status.container_statuses[0].restart_count == 1
    assert await read_limits(scene, "again") == (10_000, 128 << 20)


async def test_more_than_the_node_has_is_infeasible_and_may_be_taken_back(scene: Scene) -> None:
    main = build_shell(resources=sized("100m", "64Mi"))
    await scene.start_pod(build_pod("huge", main))

    await resize(scene, "huge", sized("1000", "64Mi"))

    pod = await scene.wait_for_pod("huge", is_pending("Infeasible"))
    pending = next(each for each in pod.status.conditions if each.type == "PodResizePending")
    assert pending.message.startswith("Node didn't have enough capacity: cpu, requested: 1000000, capacity: ")
    assert await read_limits(scene, "huge") == (10_000, 64 << 20)
    await scene.wait_for_event("huge", "ResizeInfeasible", "Pod resize Infeasible: {")
    await resize(scene, "huge", sized("100m", "64Mi"))
    taken_back = await scene.wait_for_pod("huge", lambda pod: not is_pending("Infeasible")(pod))
    assert (await scene.client.get(PODS, "huge", scene.namespace)).spec == taken_back.spec
