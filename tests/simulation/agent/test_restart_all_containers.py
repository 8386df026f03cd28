"""A pod whose container asks for the restart of the whole pod, on the fake runtime and virtual time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from kubeapi.pod import ContainerRestartRule, ContainerRestartRuleExitCodes, Pod, PodStatus
from tests import builders
from tests.fakes.fake_runtime import Program
from tests.simulation.agent.pod_world import PodWorld
from tests.simulation.agent.virtual_time import run_virtually

RULE = ContainerRestartRule(
    action="RestartAllContainers", exit_codes=ContainerRestartRuleExitCodes(operator="In", values=(42,))
)


def asking_pod() -> Pod:
    spec = {
        "init_containers": (builders.container("setup"),),
        "containers": (
            builders.container("web"),
            builders.container("main", restart_policy="Never", restart_policy_rules=(RULE,)),
        ),
        "restart_policy": "Never",
    }
    return msgspec.structs.replace(builders.pod(spec=spec), status=PodStatus())


@pytest.mark.parametrize("crash_after", [None, 0.0, 0.1, 0.3, 0.8, 1.1, 1.4])
def test_the_whole_pod_starts_again_in_its_sandbox(crash_after: float | None) -> None:
    """`crash_after`: seconds after the exit, when the agent dies in the middle of the restart."""
    pod = asking_pod()

    async def main() -> PodWorld:
        world = PodWorld()
        world.runtime.programs["setup"] = Program(seconds=1)
        world.runtime.programs["main"] = Program(seconds=5, exit_code=42)
        world.start()
        world.create(pod)
        await world.wait(lambda: world.is_ready(pod.uid))
        if crash_after is not None:
            await asyncio.sleep(5 + crash_after)
            await world.crash()
            await asyncio.sleep(0.2)
            world.start()
        await world.wait(lambda: world.runtime.count("StartContainer") >= 9)
        await asyncio.sleep(1)
        await world.crash()
        return world

    world = run_virtually(main())
    assert world.runtime.violations == []
    assert world.runtime.count("RunPodSandbox") == 1
    starts = [call for call in world.runtime.calls if call.rpc == "StartContainer"]
    assert len(starts) == 9
    status = world.api.status(pod.uid)
    assert [each.restart_count for each in status.init_container_statuses] == [2]
    assert [each.restart_count for each in status.container_statuses] == [2, 2]
    # At once the first time, ten seconds after the exit the second.
    assert starts[3].at - starts[2].at < 9
    assert 15 <= starts[6].at - starts[5].at < 19
    told = [
        condition["status"]
        for each in world.api.history[pod.uid]
        for condition in each["conditions"]
        if condition["type"] == "AllContainersRestarting"
    ]
    changes = [now for before, now in zip(["", *told], told, strict=False) if now != before]
    assert changes[:2] == ["False", "True"]
    assert changes[-1] == "False"
