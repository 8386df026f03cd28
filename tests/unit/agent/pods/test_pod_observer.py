"""The pod's observer: whole looks, and catching up with one answer for the price of one status."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.pods.config.dns_config import Resolver
from agent.pods.config.sandbox_config import PodEnvironment, build_sandbox_config
from agent.pods.observe import PodObserver
from agent.pods.observed import ObservedContainer, ObservedPod, add_container
from agent.pods.outcomes import ContainerStarted, SandboxMade
from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.relist import group_by_pod
from agent.runtime.values import ContainerState
from cri_proto.runtime.v1 import api_pb2 as cri
from tests import builders
from tests.fakes.fake_runtime import FakeRuntime, Program

POD = builders.pod()
ENVIRONMENT = PodEnvironment(
    node_name="node-1",
    root_dir=Path("/var/lib/berth"),
    pod_logs_dir=Path("/var/log/pods"),
    cgroup_root="/",
    cluster_dns="",
    cluster_domain="cluster.local",
    host_resolver=Resolver(),
    memory_capacity_bytes=8 << 30,
)
NOW = 1_767_323_045.0


class Bench:
    """A runtime in which a pod is started call by call, as the executor does."""

    def __init__(self, program: Program | None = None) -> None:
        self.runtime = FakeRuntime(now=lambda: NOW)
        if program is not None:
            self.runtime.programs["web"] = program
        self.observer = PodObserver(self.runtime, POD.uid, lambda annotations, status: "")
        self.config = build_sandbox_config(POD, 0, ENVIRONMENT)

    async def make_sandbox(self) -> SandboxMade:
        return SandboxMade(await self.runtime.run_pod_sandbox(self.config), 0)

    async def create(self, sandbox_id: SandboxID) -> ObservedContainer:
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="web"),
            image=cri.ImageSpec(image="berth.local/web:1"),
            labels=dict(self.config.labels) | {"io.kubernetes.container.name": "web"},
        )
        container_id = await self.runtime.create_container(sandbox_id, config, self.config)
        return ObservedContainer(container_id, sandbox_id, "web", 0, ContainerState.CREATED, NOW)

    def reads(self) -> list[str]:
        told = [call.rpc for call in self.runtime.calls]
        return [rpc for rpc in told if rpc.startswith("List") or rpc.endswith("Status")]


async def test_answers_say_what_a_whole_look_would() -> None:
    bench = Bench()
    made = await bench.make_sandbox()
    caught_up = await bench.observer.catch_up(ObservedPod(), (made,))
    assert caught_up is not None
    created = await bench.create(made.sandbox_id)
    bench.observer.note_created(created)
    await bench.runtime.start_container(created.id)
    caught_up = await bench.observer.catch_up(
        add_container(caught_up, created), (ContainerStarted(created.id),)
    )

    assert caught_up is not None
    assert caught_up.sandboxes[0].ips == (await bench.runtime.read_pod_sandbox_status(made.sandbox_id)).ips
    assert caught_up.containers[0].state is ContainerState.RUNNING
    assert caught_up.containers[0].started_at is not None
    lists = await bench.runtime.list_pod_sandboxes(), await bench.runtime.list_containers()
    assert bench.observer.fingerprint == group_by_pod(*lists)[POD.uid]
    whole = await PodObserver(bench.runtime, POD.uid, lambda annotations, status: "").observe()
    assert [each.id for each in whole.sandboxes] == [each.id for each in caught_up.sandboxes]
    assert [each.id for each in whole.containers] == [each.id for each in caught_up.containers]


@pytest.mark.parametrize("gone", ["sandbox", "container"])
async def test_what_has_vanished_meanwhile_asks_for_a_whole_look(gone: str) -> None:
    bench = Bench()
    absent = SandboxMade(SandboxID("absent"), 0)
    answer = absent if gone == "sandbox" else ContainerStarted(ContainerID("absent"))
    assert await bench.observer.catch_up(ObservedPod(), (answer,)) is None


async def test_a_container_that_has_exited_already_asks_for_a_whole_look() -> None:
    bench = Bench(Program(seconds=0.0))
    made = await bench.make_sandbox()
    created = await bench.create(made.sandbox_id)
    await bench.runtime.start_container(created.id)
    known = add_container(ObservedPod(), created)
    assert await bench.observer.catch_up(known, (ContainerStarted(created.id),)) is None
