"""Makes one try of a probe against one container.

IO: exec through the runtime, HTTP, TCP or gRPC from the node to the pod, each with the probe's timeout.
Called by `runner`. Tells failure of the container from trouble of our own (UNKNOWN); thresholds are `plan`'s.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.address import AddressRefused, build_http_request, resolve_port
from agent.probes.grpc_health import GRPCUnhealthy, check_grpc_health
from agent.probes.http_get import HTTPFailed, describe_network_error, send_get
from agent.probes.loop_lag import LoopLag
from agent.probes.plan import Outcome
from agent.runtime.errors import RuntimeDeadlineExceeded, RuntimeServiceError
from agent.runtime.values import ExecResult
from kubeapi.pod import ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction

_MAX_OUTPUT: Final = 10 * 1024
_TOLERATED_LAG: Final = 0.1  # of the timeout

CheckResult = tuple[Outcome, str]


class ExecService(Protocol):
    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult: ...


class ProbeCheck:
    def __init__(self, runtime: ExecService, lag: LoopLag) -> None:
        self._runtime = runtime
        self._lag = lag

    async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult:
        """The outcome, and one sentence unless it passed; never raises but for cancellation."""
        seconds = float(max(probe.timeout_seconds, 1))
        with self._lag.measure() as lag:
            try:
                if probe.exec is not None:
                    return await self._run_exec(target, probe.exec, seconds)
                async with asyncio.timeout(seconds):
                    return await self._run_network(target, probe, seconds)
            except TimeoutError:
                if lag.seconds() > seconds * _TOLERATED_LAG:
                    return Outcome.UNKNOWN, f"the agent itself was delayed for {lag.seconds():.1f} s"
                return Outcome.FAILED, f"no answer within {seconds:g} s (context deadline exceeded)"

    async def _run_network(self, target: ProbeTarget, probe: Probe, seconds: float) -> CheckResult:
        if probe.http_get is not None:
            return await _run_http(target, probe.http_get)
        if probe.tcp_socket is not None:
            return await _run_tcp(target, probe.tcp_socket)
        if probe.grpc is not None:
            return await _run_grpc(target, probe.grpc, seconds)
        return Outcome.UNKNOWN, "missing probe handler"

    async def _run_exec(self, target: ProbeTarget, action: ExecAction, seconds: float) -> CheckResult:
        try:
            result = await self._runtime.exec_sync(target.container_id, action.command, seconds)
        except RuntimeDeadlineExceeded:
            command = " ".join(action.command)
            return Outcome.FAILED, f"command {command!r} timed out after {seconds:g} s"
        except RuntimeServiceError as error:
            return Outcome.UNKNOWN, str(error)
        if result.exit_code == 0:
            return Outcome.PASSED, ""
        return Outcome.FAILED, (result.stdout + result.stderr)[:_MAX_OUTPUT].decode(
            errors="replace"
        ).strip() or (f"command exited with {result.exit_code}")


async def _run_http(target: ProbeTarget, action: HTTPGetAction) -> CheckResult:
    request = build_http_request(target.container, action, target.pod_ip)
    if isinstance(request, AddressRefused):
        return Outcome.UNKNOWN, request.message
    try:
        answer = await send_get(request)
    except HTTPFailed as error:
        return Outcome.FAILED, str(error)
    if 200 <= answer.status < 400:
        return Outcome.PASSED, ""
    return Outcome.FAILED, f"HTTP probe failed with statuscode: {answer.status}"


async def _run_tcp(target: ProbeTarget, action: TCPSocketAction) -> CheckResult:
    port = resolve_port(target.container, action.port)
    if isinstance(port, AddressRefused):
        return Outcome.UNKNOWN, port.message
    host = action.host or target.pod_ip
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome.FAILED, f"dial tcp {host}:{port}: {describe_network_error(error)}"
    writer.close()
    return Outcome.PASSED, ""


async def _run_grpc(target: ProbeTarget, action: GRPCAction, seconds: float) -> CheckResult:
    try:
        await check_grpc_health(target.pod_ip, action.port, action.service or "", deadline_seconds=seconds)
    except GRPCUnhealthy as error:
        return Outcome.FAILED, str(error)
    return Outcome.PASSED, ""
