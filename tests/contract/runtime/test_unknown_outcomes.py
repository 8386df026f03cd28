"""What becomes of a call whose caller stops waiting: what the agent relies on when it can't know.

The callers here give up by cancelling, which a runtime sees as it sees a deadline or a death. On real
containerd, CNI's plugin and runc are scripts that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from agent.pods.ports import ContainerID
from agent.runtime.errors import RuntimeNameReserved, RuntimeServiceError
from agent.runtime.values import ContainerState, RuntimeContainerStatus
from tests.contract.runtime.conftest import Stage
from tests.contract.runtime.held_programs import (
    ADD_NETWORK,
    CREATE_PROCESS,
    REMOVE_NETWORK,
    START_PROCESS,
)

_PATIENCE_SECONDS = 0.7
_DEADLINE_SECONDS = 20.0


async def give_up(call: Coroutine[Any, Any, Any]) -> None:
    """Waits for a moment, then no more; the call must not have ended by then."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await call


async def wait_until_over(stage: Stage, container_id: ContainerID) -> RuntimeContainerStatus:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while True:
            status = await stage.runtime.read_container_status(container_id)
            if status.state is not ContainerState.CREATED:
                return status
            await asyncio.sleep(0.05)


async def remove_all(stage: Stage) -> None:
    """As a pod's end does: whatever shows is stopped and removed, and nothing shows later."""
    for sandbox in await stage.runtime.list_pod_sandboxes(stage.uid):
        await stage.runtime.stop_pod_sandbox(sandbox.id)
        await stage.runtime.remove_pod_sandbox(sandbox.id)
    await asyncio.sleep(1)
    assert await stage.runtime.list_pod_sandboxes(stage.uid) == ()
    assert await stage.runtime.list_containers(stage.uid) == ()


async def test_a_sandbox_that_nobody_waits_for_is_undone_and_its_name_serves_again(stage: Stage) -> None:
    with stage.hold(ADD_NETWORK, 2.0):
        await give_up(stage.run_sandbox())
        assert await stage.runtime.list_pod_sandboxes(stage.uid) == ()
        await asyncio.sleep(1)
    sandbox_id = await stage.run_sandbox()
    (sandbox,) = await stage.runtime.list_pod_sandboxes(stage.uid)
    assert (sandbox.id, sandbox.attempt, sandbox.ready) == (sandbox_id, 0, True)
    await remove_all(stage)


async def test_while_a_sandbox_is_being_undone_its_name_is_reserved_and_the_next_attempt_is_free(
    stage: Stage,
) -> None:
    with stage.hold(REMOVE_NETWORK, 3.0):
        with stage.hold(ADD_NETWORK, 2.0):
            await give_up(stage.run_sandbox())
            await asyncio.sleep(0.3)
        with pytest.raises(RuntimeNameReserved):
            await stage.run_sandbox()
        sandbox_id = await stage.run_sandbox(attempt=1)
    (sandbox,) = await stage.runtime.list_pod_sandboxes(stage.uid)
    assert (sandbox.id, sandbox.attempt, sandbox.ready) == (sandbox_id, 1, True)
    await remove_all(stage)


@pytest.mark.parametrize("step", [CREATE_PROCESS, START_PROCESS])
async def test_a_start_that_nobody_waits_for_is_cut_short_and_says_so(stage: Stage, step: str) -> None:
    container_id = await stage.create(await stage.run_sandbox(), "obedient")
    with stage.hold(step, 2.0):
        await give_up(stage.runtime.start_container(container_id))
        status = await wait_until_over(stage, container_id)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
    assert status.started_at is None
    assert "context canceled" in status.message
    await remove_all(stage)


async def test_a_container_that_is_being_started_is_neither_started_twice_nor_removed(stage: Stage) -> None:
    container_id = await stage.create(await stage.run_sandbox(), "obedient")
    with stage.hold(CREATE_PROCESS, 2.0):
        starting = asyncio.create_task(stage.runtime.start_container(container_id))
        await asyncio.sleep(0.5)
        with pytest.raises(RuntimeServiceError, match="starting state"):
            await stage.runtime.start_container(container_id)
        if stage.held is not None:  # the fake's other calls are held, too
            with pytest.raises(RuntimeServiceError, match="starting state"):
                await stage.runtime.remove_container(container_id)
        await starting
    assert (await stage.runtime.read_container_status(container_id)).state is ContainerState.RUNNING
    await remove_all(stage)


async def test_a_start_under_way_may_outlive_the_stop_of_its_sandbox_but_not_its_removal(
    stage: Stage,
) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.create(sandbox_id, "obedient")
    with stage.hold(CREATE_PROCESS, 1.5):
        starting = asyncio.create_task(stage.runtime.start_container(container_id))
        await asyncio.sleep(0.5)
        await stage.runtime.stop_pod_sandbox(sandbox_id)
        with contextlib.suppress(RuntimeServiceError):
            await starting
    await wait_until_over(stage, container_id)
    await stage.runtime.remove_container(container_id)
    assert await stage.runtime.list_containers(stage.uid) == ()
    await remove_all(stage)


async def test_a_stopped_sandbox_starts_no_container(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    container_id = await stage.create(sandbox_id, "obedient")
    await stage.runtime.stop_pod_sandbox(sandbox_id)
    with pytest.raises(RuntimeServiceError):
        await stage.runtime.start_container(container_id)
    await remove_all(stage)


async def test_a_stop_of_a_container_that_never_started_leaves_it_startable(stage: Stage) -> None:
    container_id = await stage.create(await stage.run_sandbox(), "obedient")
    await stage.runtime.stop_container(container_id, 1)
    assert (await stage.runtime.read_container_status(container_id)).state is ContainerState.CREATED
    await stage.runtime.start_container(container_id)


async def test_a_running_container_is_removed_with_its_process(stage: Stage) -> None:
    container_id = await stage.start(await stage.run_sandbox(), "stubborn")
    await stage.runtime.remove_container(container_id)
    assert await stage.runtime.list_containers(stage.uid) == ()


async def test_a_running_sandbox_is_removed_with_its_containers(stage: Stage) -> None:
    sandbox_id = await stage.run_sandbox()
    await stage.start(sandbox_id, "stubborn")
    await stage.runtime.remove_pod_sandbox(sandbox_id)
    assert await stage.runtime.list_pod_sandboxes(stage.uid) == ()
    assert await stage.runtime.list_containers(stage.uid) == ()


async def test_a_stop_that_nobody_waits_for_has_sent_its_signal(stage: Stage) -> None:
    """The kill at the end of the grace period then is the next call's to make."""
    container_id = await stage.start(await stage.run_sandbox(), "stubborn")
    await asyncio.sleep(0.3)
    await give_up(stage.runtime.stop_container(container_id, 300))
    await asyncio.sleep(0.5)
    assert (await stage.runtime.read_container_status(container_id)).state is ContainerState.RUNNING
    await stage.runtime.stop_container(container_id, 1)
    assert (await stage.runtime.read_container_status(container_id)).exit_code == 137
