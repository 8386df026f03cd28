"""A task that containerd's CRI side doesn't know of keeps a sandbox from being removed, but not for ever."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from agent.pods.ports import SandboxID
from agent.runtime.client import RuntimeClient
from agent.runtime.cut_starts import remove_sandbox
from agent.runtime.errors import RuntimeServiceError
from cri_proto.runtime.v1 import api_pb2 as cri
from lab.bare_pods import BarePod, BareRuntime
from lab.images import SHELL_IMAGE
from lab.runtime_node import RuntimeNode


def add_unknown_task(runtime: BareRuntime, node: RuntimeNode, pod: BarePod) -> str:
    """A container as a start leaves it that was cut short: not started for CRI, a process for containerd."""
    sandbox = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name="cut", uid=str(uuid.uuid4()), namespace="bare"),
        log_directory=str(pod.log_file.parent),
        linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"{node.cgroup_root}/kubepods/bare"),
    )
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="cut"),
        image=cri.ImageSpec(image=SHELL_IMAGE),
        command=["sleep", "86400"],
        log_path="cut.log",
    )
    request = cri.CreateContainerRequest(pod_sandbox_id=pod.sandbox_id, config=config, sandbox_config=sandbox)
    container_id = runtime.runtime.CreateContainer(request, timeout=30).container_id
    started = node.run(["ctr", "tasks", "start", "--detach", "--null-io", container_id])
    assert started.returncode == 0, started.stderr
    return str(container_id)


async def test_a_forgotten_task_does_not_keep_its_sandbox(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime
) -> None:
    pod = bare_runtime.run_pod("cut", SHELL_IMAGE, ["sleep", "86400"])
    container_id = await asyncio.to_thread(add_unknown_task, bare_runtime, runtime_node, pod)
    sandbox_id = SandboxID(pod.sandbox_id)
    async with RuntimeClient(runtime_node.endpoint, node_name="n1") as client:
        await client.stop_pod_sandbox(sandbox_id)
        for _ in range(2):
            with pytest.raises(RuntimeServiceError, match="cannot delete running task"):
                await client.remove_pod_sandbox(sandbox_id)

        with pytest.raises(RuntimeServiceError, match="cannot delete running task"):
            await remove_sandbox(client, sandbox_id)
        async with asyncio.timeout(10):
            while not await _remove(client, sandbox_id):  # noqa: ASYNC110 - by another program
                await asyncio.sleep(0.1)
    left = await asyncio.to_thread(runtime_node.run, ["ctr", "containers", "ls", "-q"])
    assert {pod.sandbox_id, container_id}.isdisjoint(left.stdout.split())


async def _remove(client: RuntimeClient, sandbox_id: SandboxID) -> bool:
    """Whether it went; containerd needs a moment to see that the shim is gone."""
    try:
        await remove_sandbox(client, sandbox_id)
    except RuntimeServiceError:
        return False
    return True
