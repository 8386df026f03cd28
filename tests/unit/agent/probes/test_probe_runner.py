"""The runner: gates, changes of targets, notices, resumption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.pods.ports import (
    ContainerID,
    ProbeFailure,
    ProbeKind,
    ProbeTarget,
    ProbeTrouble,
    ProbeVerdict,
)
from agent.probes.check import CheckResult
from agent.probes.plan import Outcome
from agent.probes.runner import TaskProbeRunner
from kubeapi.pod import Container, PodUID, Probe, TCPSocketAction
from tests.builders import container, pod

_STARTUP, _READINESS, _LIVENESS = 1, 2, 3  # ports, by which the check tells the probes apart
NOW = 1000.0


def _probe(port: int, failure_threshold: int = 3) -> Probe:
    action = TCPSocketAction(port=port)
    return Probe(tcp_socket=action, period_seconds=1, failure_threshold=failure_threshold)


class _Check:
    """Answers by the probe's port; what isn't set passes. Counts tries."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.tries: list[tuple[int, str]] = []
        self.tried = asyncio.Event()
        self.remark = ""

    async def wait_for_tries(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.tries) < count:
                self.tried.clear()
                await self.tried.wait()

    async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult:
        assert probe.tcp_socket is not None
        port = int(probe.tcp_socket.port)
        self.tries.append((port, target.pod_ip))
        self.tried.set()
        outcome = self.outcomes.get(port, Outcome.PASSED)
        return outcome, self.remark if outcome is Outcome.PASSED else "no"


class _Notices:
    def __init__(self, runner: TaskProbeRunner) -> None:
        self._changed = asyncio.Event()
        self.uids: list[PodUID] = []
        runner.subscribe(self._note)

    def _note(self, uid: PodUID) -> None:
        self.uids.append(uid)
        self._changed.set()

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            await self._changed.wait()
        self._changed.clear()


@pytest.fixture
def check() -> _Check:
    return _Check()


@pytest.fixture
async def runner(check: _Check) -> AsyncIterator[TaskProbeRunner]:
    runner = TaskProbeRunner(check, lambda: NOW)
    yield runner
    await runner.aclose()


def _target(of: Container, container_id: str = "c1", pod_ip: str = "10.0.0.1") -> ProbeTarget:
    return ProbeTarget(pod(spec={"containers": (of,)}), of, ContainerID(container_id), pod_ip, NOW)


UID = PodUID("uid-web-1")


async def test_without_probes_a_container_is_ready(runner: TaskProbeRunner) -> None:
    target = _target(container())
    runner.set_targets(UID, (target,))
    assert runner.verdict(target) == ProbeVerdict(True, True, True)


async def test_readiness_is_tried_at_once_and_told(runner: TaskProbeRunner) -> None:
    notices = _Notices(runner)
    target = _target(container(readiness_probe=_probe(_READINESS)))
    assert runner.verdict(target) == ProbeVerdict(True, False, True)
    runner.set_targets(UID, (target,))
    assert runner.verdict(target) == ProbeVerdict(True, False, True)
    await notices.wait()
    assert runner.verdict(target) == ProbeVerdict(True, True, True)
    assert notices.uids == [UID]
    assert runner.results == {(ContainerID("c1"), ProbeKind.READINESS): True}


async def test_the_startup_probe_gates_the_others(runner: TaskProbeRunner, check: _Check) -> None:
    notices = _Notices(runner)
    check.outcomes[_STARTUP] = Outcome.FAILED
    probed = container(
        startup_probe=_probe(_STARTUP, failure_threshold=100),
        readiness_probe=_probe(_READINESS),
        liveness_probe=_probe(_LIVENESS),
    )
    target = _target(probed)
    runner.set_targets(UID, (target,))
    await notices.wait()  # the first failure has a message
    assert {port for port, _ in check.tries} == {_STARTUP}
    assert runner.verdict(target) == ProbeVerdict(False, False, True, "Startup probe failed: no")
    check.outcomes[_STARTUP] = Outcome.PASSED
    while not runner.verdict(target).ready:
        await notices.wait()
    assert runner.verdict(target) == ProbeVerdict(True, True, True)


async def test_failed_liveness_means_restart_and_ends_the_tries(
    runner: TaskProbeRunner, check: _Check
) -> None:
    notices = _Notices(runner)
    check.outcomes[_LIVENESS] = Outcome.FAILED
    target = _target(container(liveness_probe=_probe(_LIVENESS, failure_threshold=1)))
    runner.set_targets(UID, (target,))
    assert runner.verdict(target).live
    await notices.wait()
    assert runner.verdict(target) == ProbeVerdict(True, True, False, "Liveness probe failed: no")
    # The restarted container begins alive again, and its first try fails as well.
    again = _target(target.container, "c2")
    runner.set_targets(UID, (again,))
    assert runner.verdict(again).live
    await notices.wait()
    assert not runner.verdict(again).live
    assert len(check.tries) == 2


async def test_an_unchanged_container_goes_on_with_its_new_address(
    runner: TaskProbeRunner, check: _Check
) -> None:
    notices = _Notices(runner)
    probed = container(readiness_probe=_probe(_READINESS))
    runner.set_targets(UID, (_target(probed),))
    await notices.wait()
    check.tried.clear()
    runner.set_targets(UID, (_target(probed, pod_ip="10.0.0.2"),))
    async with asyncio.timeout(10):
        await check.tried.wait()
    assert check.tries == [(_READINESS, "10.0.0.1"), (_READINESS, "10.0.0.2")]


async def test_no_targets_end_the_probing(runner: TaskProbeRunner) -> None:
    notices = _Notices(runner)
    target = _target(container(readiness_probe=_probe(_READINESS)))
    runner.set_targets(UID, (target,))
    await notices.wait()
    runner.set_targets(UID, ())
    assert runner.results == {}
    assert not runner.verdict(target).ready
    runner.set_targets(UID, ())


async def test_a_restarted_agent_goes_on_from_stored_results(check: _Check) -> None:
    key = (ContainerID("c1"), ProbeKind.READINESS)
    check.outcomes[_READINESS] = Outcome.FAILED
    runner = TaskProbeRunner(check, lambda: NOW, {key: True})
    runner.restore({key: False, (ContainerID("c2"), ProbeKind.READINESS): True})
    target = _target(container(readiness_probe=_probe(_READINESS, failure_threshold=2)))
    assert runner.verdict(target).ready
    assert runner.verdict(_target(target.container, "c2")).ready
    notices = _Notices(runner)
    runner.set_targets(UID, (target,))
    assert runner.verdict(target).ready
    await notices.wait()
    assert runner.verdict(target).ready, "one failure is below the threshold"
    while runner.verdict(target).ready:
        await notices.wait()
    assert runner.results == {key: False}
    await runner.aclose()


async def test_a_probe_that_hangs_delays_no_other(runner: TaskProbeRunner) -> None:
    release = asyncio.Event()

    class Hanging:
        async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult:
            if target.container_id == "stuck":
                await release.wait()
            return Outcome.PASSED, ""

    runner = TaskProbeRunner(Hanging(), lambda: NOW)
    notices = _Notices(runner)
    probed = container(readiness_probe=_probe(_READINESS))
    stuck, fine = _target(probed, "stuck"), _target(probed, "fine")
    runner.set_targets(PodUID("a"), (stuck,))
    runner.set_targets(PodUID("b"), (fine,))
    await notices.wait()
    assert runner.verdict(fine).ready
    assert not runner.verdict(stuck).ready
    await runner.aclose()


async def test_failures_that_count_are_told(check: _Check) -> None:
    check.outcomes[_LIVENESS] = Outcome.FAILED
    runner = TaskProbeRunner(check, lambda: NOW)
    notices, told = _Notices(runner), list[ProbeFailure]()
    runner.subscribe_failures(told.append)
    runner.set_targets(UID, (_target(container(liveness_probe=_probe(_LIVENESS, failure_threshold=2))),))
    await notices.wait()
    while runner.results != {(ContainerID("c1"), ProbeKind.LIVENESS): False}:
        await notices.wait()
    assert told == [ProbeFailure(UID, "web", ProbeKind.LIVENESS, "no")] * 2
    await runner.aclose()


async def test_tries_between_that_fail_are_not_told(check: _Check) -> None:
    check.outcomes[_READINESS] = Outcome.FAILED
    runner = TaskProbeRunner(check, lambda: NOW)
    told = list[ProbeFailure]()
    runner.subscribe_failures(told.append)
    probe = Probe(tcp_socket=TCPSocketAction(port=_READINESS), period_seconds=3600)
    runner.set_targets(UID, (_target(container(readiness_probe=probe)),))
    while len(check.tries) < 3:
        check.tried.clear()
        await check.tried.wait()
    assert told == [ProbeFailure(UID, "web", ProbeKind.READINESS, "no")]
    await runner.aclose()


async def test_a_pod_that_ends_is_asked_for_readiness_alone(runner: TaskProbeRunner, check: _Check) -> None:
    probed = container(readiness_probe=_probe(_READINESS), liveness_probe=_probe(_LIVENESS))
    target = _target(probed)
    runner.set_targets(UID, (target,))
    await check.wait_for_tries(2)
    runner.set_targets(UID, (replace(target, terminating=True),))
    check.outcomes = {_LIVENESS: Outcome.FAILED, _READINESS: Outcome.FAILED}
    check.tries.clear()
    await check.wait_for_tries(3)
    assert {port for port, _ in check.tries} == {_READINESS}
    assert runner.verdict(target) == ProbeVerdict(True, False, True, "Readiness probe failed: no")


async def test_a_container_of_a_pod_that_ends_is_not_asked_whether_it_has_started(
    runner: TaskProbeRunner, check: _Check
) -> None:
    probed = container(readiness_probe=_probe(_READINESS), startup_probe=_probe(_STARTUP))
    target = replace(_target(probed), terminating=True)
    runner.set_targets(UID, (target,))
    await asyncio.sleep(0.2)
    assert check.tries == []
    assert not runner.verdict(target).ready


async def test_an_error_that_goes_on_is_told_once_and_a_delay_of_our_own_never(check: _Check) -> None:
    check.outcomes[_READINESS] = Outcome.UNKNOWN
    runner = TaskProbeRunner(check, lambda: NOW)
    told = list[ProbeFailure]()
    runner.subscribe_failures(told.append)
    runner.set_targets(UID, (_target(container(readiness_probe=_probe(_READINESS))),))
    await check.wait_for_tries(3)
    check.outcomes[_READINESS] = Outcome.DELAYED
    await check.wait_for_tries(5)
    assert told == [ProbeFailure(UID, "web", ProbeKind.READINESS, "no", ProbeTrouble.ERRORED)]
    await runner.aclose()


async def test_a_pass_with_a_remark_is_a_warning(runner: TaskProbeRunner, check: _Check) -> None:
    check.remark = "redirected"
    told = list[ProbeFailure]()
    runner.subscribe_failures(told.append)
    target = _target(container(readiness_probe=_probe(_READINESS)))
    notices = _Notices(runner)
    runner.set_targets(UID, (target,))
    await notices.wait()
    assert told == [ProbeFailure(UID, "web", ProbeKind.READINESS, "redirected", ProbeTrouble.WARNING)]
    assert runner.verdict(target) == ProbeVerdict(True, True, True)
