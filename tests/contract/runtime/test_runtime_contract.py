"""What the pod lanes rely on in a container runtime, held against containerd and against the fake."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.errors import RuntimeNameReserved, RuntimeNotFound, RuntimeServiceError
from agent.runtime.values import ContainerState, LinuxResources, RuntimeContainerStatus
from cri_proto.runtime.v1 import api_pb2 as cri
from tests.contract.runtime.conftest import FAILING_COMMAND, Stage

_MISSING = "f" * 64
_DEADLINE_SECONDS = 20


async def wait_for_exit(stage: Stage, container_id: ContainerID) -> RuntimeContainerStatus:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while True:
            status = await stage.runtime.read_container_status(container_id)
            if status.state is ContainerState.EXITED:
                return status
            await asyncio.sleep(0.05)


async def test_nothing_is_there_at_first(stage: Stage) -> None:
    assert await stage.runtime.list_pod_sandboxes(stage.uid) == ()
    assert await stage.runtime.list_containers(stage.uid) == ()


async def test_a_sandbox_is_listed_ready_with_its_name_and_an_address(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox(attempt=2)
    (sandbox,) = await stage.runtime.list_pod_sandboxes(stage.uid)
    assert (sandbox.id, sandbox.ready, sandbox.attempt) == (sandbox_id, True, 2)
    assert (sandbox.pod_name, sandbox.pod_namespace, sandbox.pod_uid) == ("web", "default", stage.uid)
    assert dict(sandbox.labels) == stage.labels()
    assert sandbox.annotations["example.com/note"] == "kept"
    assert abs(sandbox.created_at - time.time()) < 30
    status = await stage.runtime.read_pod_sandbox_status(sandbox_id)
    assert status.ready
    assert len(status.ips) == 1


async def test_all_pods_of_the_node_are_listed_without_a_uid(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.create(sandbox_id, "obedient")
    assert sandbox_id in {sandbox.id for sandbox in await stage.runtime.list_pod_sandboxes()}
    assert container_id in {container.id for container in await stage.runtime.list_containers()}


async def test_names_are_reserved_by_attempt(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    with pytest.raises(RuntimeNameReserved):
        await stage.run_sandbox()
    await stage.create(sandbox_id, "obedient")
    with pytest.raises(RuntimeNameReserved):
        await stage.create(sandbox_id, "obedient")
    await stage.create(sandbox_id, "obedient", attempt=1)


async def test_a_removed_name_is_free_again(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.create(sandbox_id, "obedient")
    await stage.runtime.remove_container(container_id)
    assert await stage.create(sandbox_id, "obedient") != container_id


async def test_a_container_is_created_then_running(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.create(sandbox_id, "obedient", attempt=4)
    (container,) = await stage.runtime.list_containers(stage.uid)
    assert container.state is ContainerState.CREATED
    assert (container.id, container.sandbox_id) == (container_id, sandbox_id)
    assert (container.name, container.attempt, container.pod_uid) == ("obedient", 4, stage.uid)
    assert container.annotations["example.com/attempt"] == "4"
    await stage.runtime.start_container(container_id)
    (container,) = await stage.runtime.list_containers(stage.uid)
    assert container.state is ContainerState.RUNNING
    status = await stage.runtime.read_container_status(container_id)
    assert status.started_at is not None
    assert abs(status.started_at - time.time()) < 30
    assert status.finished_at is None
    assert status.log_path.endswith("/obedient.log")


async def test_an_exit_is_seen_with_its_code_and_time(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "exits-3")
    status = await wait_for_exit(stage, container_id)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert status.started_at is not None
    assert status.finished_at is not None
    # containerd stamps a start once it has returned; what ends at once may have ended a little before that.
    assert -1 < status.finished_at - status.started_at < 30
    with pytest.raises(RuntimeServiceError):
        await stage.runtime.start_container(container_id)


async def test_a_program_that_is_absent_is_a_start_error(stage: Stage) -> None:
    container_id = await stage.create(await stage.run_sandbox(), "absent")
    with pytest.raises(RuntimeServiceError, match="no such file or directory"):
        await stage.runtime.start_container(container_id)
    status = await stage.runtime.read_container_status(container_id)
    assert status.state is ContainerState.EXITED
    assert (status.exit_code, status.reason) == (128, "StartError")


async def test_a_stop_ends_an_obedient_program_at_once(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "obedient")
    await asyncio.sleep(0.3)  # its trap must be set
    begun = time.monotonic()
    await stage.runtime.stop_container(container_id, 15)
    assert time.monotonic() - begun < 5
    assert (await stage.runtime.read_container_status(container_id)).exit_code == 143


async def test_a_stop_kills_a_stubborn_program_after_the_timeout(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "stubborn")
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    await stage.runtime.stop_container(container_id, 1)
    assert 0.9 <= time.monotonic() - begun < 5
    assert (await stage.runtime.read_container_status(container_id)).exit_code == 137


async def test_a_shorter_stop_overtakes_a_longer_one(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "stubborn")
    await asyncio.sleep(0.3)
    longer = asyncio.create_task(stage.runtime.stop_container(container_id, 300))
    await asyncio.sleep(0.3)
    await stage.runtime.stop_container(container_id, 1)
    assert (await stage.runtime.read_container_status(container_id)).state is ContainerState.EXITED
    longer.cancel()
    await asyncio.gather(longer, return_exceptions=True)


async def test_stopping_and_removing_twice_is_fine(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.start(sandbox_id, "exits-3")
    await wait_for_exit(stage, container_id)
    for _ in range(2):
        await stage.runtime.stop_container(container_id, 1)
    for _ in range(2):
        await stage.runtime.remove_container(container_id)
    for _ in range(2):
        await stage.runtime.stop_pod_sandbox(sandbox_id)
    for _ in range(2):
        await stage.runtime.remove_pod_sandbox(sandbox_id)
    assert await stage.runtime.list_pod_sandboxes(stage.uid) == ()


async def test_what_never_was_can_be_stopped_and_removed_but_not_read(stage: Stage) -> None:
    await stage.runtime.stop_container(ContainerID(_MISSING), 1)
    await stage.runtime.remove_container(ContainerID(_MISSING))
    await stage.runtime.stop_pod_sandbox(SandboxID(_MISSING))
    await stage.runtime.remove_pod_sandbox(SandboxID(_MISSING))
    with pytest.raises(RuntimeNotFound):
        await stage.runtime.read_container_status(ContainerID(_MISSING))
    with pytest.raises(RuntimeNotFound):
        await stage.runtime.read_pod_sandbox_status(SandboxID(_MISSING))
    with pytest.raises(RuntimeServiceError):
        await stage.create(SandboxID(_MISSING), "obedient")


async def test_a_stopped_sandbox_is_not_ready_and_its_containers_have_ended(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.start(sandbox_id, "obedient")
    await stage.runtime.stop_pod_sandbox(sandbox_id)
    (sandbox,) = await stage.runtime.list_pod_sandboxes(stage.uid)
    assert not sandbox.ready
    assert (await stage.runtime.read_container_status(container_id)).state is ContainerState.EXITED
    with pytest.raises(RuntimeServiceError):  # containerd 2.1 says so only when it is to be started
        await stage.start(sandbox_id, "stubborn")


async def test_a_removed_sandbox_takes_its_containers_along(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    await stage.start(sandbox_id, "exits-3")
    await stage.create(sandbox_id, "obedient")
    await stage.runtime.stop_pod_sandbox(sandbox_id)
    await stage.runtime.remove_pod_sandbox(sandbox_id)
    assert await stage.runtime.list_containers(stage.uid) == ()


async def test_a_command_in_a_container_tells_its_output_and_code(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "obedient")
    result = await stage.runtime.exec_sync(container_id, FAILING_COMMAND, 10)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)


async def test_no_command_runs_in_a_container_that_ended(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "exits-3")
    await wait_for_exit(stage, container_id)
    with pytest.raises(RuntimeServiceError):
        await stage.runtime.exec_sync(container_id, ("true",), 5)


async def test_a_running_container_is_given_other_resources(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.start(sandbox_id, "obedient")
    resources = cri.LinuxContainerResources(
        cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, memory_limit_in_bytes=64 << 20
    )
    for _ in range(2):
        await stage.runtime.update_container_resources(container_id, resources)
    (container,) = await stage.runtime.list_containers(stage.uid)
    assert container.state is ContainerState.RUNNING
    # Not every runtime tells them; what one tells is what it was given.
    reported = (await stage.runtime.read_container_status(container_id)).resources
    assert reported in (None, LinuxResources(100_000, 50_000, 512, 64 << 20))


async def test_a_container_that_isnt_there_takes_no_resources(stage: Stage) -> None:
    resources = cri.LinuxContainerResources(cpu_shares=512)
    with pytest.raises(RuntimeNotFound):
        await stage.runtime.update_container_resources(ContainerID(_MISSING), resources)


async def test_the_memory_of_a_running_container_is_known(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.start(sandbox_id, "obedient")
    used = await stage.runtime.read_memory_usage(container_id)
    assert used is not None
    assert used > 0
    with pytest.raises(RuntimeNotFound):
        await stage.runtime.read_memory_usage(ContainerID(_MISSING))
