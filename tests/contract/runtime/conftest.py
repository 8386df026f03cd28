"""The two runtimes that the contract is held against: the fake, and containerd on a lab's node.

Which containerd: this machine's, or the one that BERTH_LAB_RUNTIME names.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.client import RuntimeClient
from agent.runtime.service import RuntimeService
from agent.runtime.values import (
    CONTAINER_NAME_LABEL,
    NODE_LABEL,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    ExecResult,
)
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import PodUID
from lab.bare_pods import write_bridge_conf
from lab.images import SHELL_IMAGE
from lab.runtime_node import RuntimeNode, running_runtime_node
from lab.runtimes import default_runtime, find_runtime
from tests.contract.runtime.held_programs import REMOVE_NETWORK, HeldPrograms
from tests.fakes.fake_runtime import Abandoned, FakeRuntime, Program

NODE = "node-1"
FAILING_COMMAND = ("sh", "-c", "echo out; echo err >&2; exit 7")

# What containers of these names do: on the fake, and as a command on the real thing.
PROGRAMS = {
    "obedient": Program(),
    "stubborn": Program(term_seconds=None),
    "exits-3": Program(seconds=0.0, exit_code=3),
    "absent": Program(start_error="no such file or directory"),
}
COMMANDS = {
    "obedient": ("sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.05; done"),
    "stubborn": ("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"),
    "exits-3": ("sh", "-c", "exit 3"),
    "absent": ("/no/such/program",),
}


@dataclass(slots=True)
class Stage:
    """A runtime and one pod's names."""

    runtime: RuntimeService
    cgroup_root: str = "/"
    log_root: str = "/var/log/pods"
    uid: PodUID = field(default_factory=lambda: PodUID(str(uuid.uuid4())))
    held: HeldPrograms | None = None

    def sandbox_config(self, attempt: int = 0) -> cri.PodSandboxConfig:
        return cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name="web", namespace="default", uid=self.uid, attempt=attempt),
            log_directory=f"{self.log_root}/{self.uid}",
            labels=self.labels(),
            annotations={"example.com/note": "kept"},
            linux=cri.LinuxPodSandboxConfig(
                cgroup_parent=f"{self.cgroup_root}/kubepods/pod{self.uid}",
                security_context=cri.LinuxSandboxSecurityContext(
                    namespace_options=cri.NamespaceOption(pid=cri.CONTAINER)
                ),
            ),
        )

    def labels(self) -> dict[str, str]:
        return {
            POD_NAME_LABEL: "web",
            POD_NAMESPACE_LABEL: "default",
            POD_UID_LABEL: self.uid,
            NODE_LABEL: NODE,
        }

    @contextlib.contextmanager
    def hold(self, step: str, seconds: float) -> Iterator[None]:
        """While the block runs, each such step takes that long: on the fake, every call does."""
        if self.held is not None:
            with self.held.hold(step, seconds):
                yield
            return
        assert isinstance(self.runtime, FakeRuntime)
        before, self.runtime.latency_seconds = self.runtime.latency_seconds, seconds
        undo, self.runtime.rollback_seconds = self.runtime.rollback_seconds, lambda: seconds
        if step != REMOVE_NETWORK:
            self.runtime.rollback_seconds = undo
        else:
            self.runtime.latency_seconds = before
        try:
            yield
        finally:
            self.runtime.latency_seconds, self.runtime.rollback_seconds = before, undo

    async def run_sandbox(self, attempt: int = 0) -> SandboxID:
        return await self.runtime.run_pod_sandbox(self.sandbox_config(attempt))

    async def create(self, sandbox_id: SandboxID, name: str, attempt: int = 0) -> ContainerID:
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name, attempt=attempt),
            image=cri.ImageSpec(image=SHELL_IMAGE, user_specified_image=SHELL_IMAGE),
            command=COMMANDS[name],
            labels={**self.labels(), CONTAINER_NAME_LABEL: name},
            annotations={"example.com/attempt": str(attempt)},
            log_path=f"{name}.log",
            linux=cri.LinuxContainerConfig(
                security_context=cri.LinuxContainerSecurityContext(
                    namespace_options=cri.NamespaceOption(pid=cri.CONTAINER)
                )
            ),
        )
        return await self.runtime.create_container(sandbox_id, config, self.sandbox_config())

    async def start(self, sandbox_id: SandboxID, name: str) -> ContainerID:
        container_id = await self.create(sandbox_id, name)
        await self.runtime.start_container(container_id)
        return container_id


@dataclass(frozen=True, slots=True)
class HeldNode:
    """A containerd whose CNI plugin and runc can be made to wait."""

    node: RuntimeNode
    programs: HeldPrograms


@pytest.fixture(scope="session")
def held_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldNode]:
    programs = find_runtime(default_runtime())
    held = HeldPrograms(tmp_path_factory.mktemp("contract") / "programs")
    held.make(programs.runc)
    programs = replace(programs, cni_plugins=held.cni_plugins, runc=held.runc)
    with running_runtime_node(f"ct-{os.getpid()}", programs=programs) as node:
        write_bridge_conf(node)
        yield HeldNode(node, held)


@pytest_asyncio.fixture(params=["fake", "containerd"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    if request.param == "fake":
        results: dict[tuple[str, ...], ExecResult] = {FAILING_COMMAND: ExecResult(b"out\n", b"err\n", 7)}
        runtime = FakeRuntime(
            now=time.time,
            abandoned=Abandoned.ROLLS_BACK,
            programs=dict(PROGRAMS),
            exec_results=results,
        )
        yield Stage(runtime)
        return
    held: HeldNode = request.getfixturevalue("held_node")
    node = held.node
    async with RuntimeClient(node.endpoint, node_name=NODE) as client:
        real = Stage(client, node.cgroup_root, str(node.paths.pod_logs_directory), held=held.programs)
        (node.paths.pod_logs_directory / real.uid).mkdir(parents=True)
        yield real
        for sandbox in await client.list_pod_sandboxes(real.uid):
            await client.stop_pod_sandbox(sandbox.id)
            await client.remove_pod_sandbox(sandbox.id)
