"""Makes one try of a probe against one container.

IO: exec through the runtime, HTTP, TCP or gRPC from the node to the pod, each with the probe's timeout.
Called by `runner`. Tells failure of the container from trouble of our own (UNKNOWN, DELAYED); thresholds are
`plan`'s.
"""

from __future__ import annotations

from typing import Final

from agent.pods.ports import ProbeTarget
from agent.probes.address import AddressRefused, build_http_request, resolve_port
from agent.probes.dial import Dialer, DialFailed
from agent.probes.exec_guard import ExecGuard, ExecService, ExecTimedOut
from agent.probes.exec_watch import ContainerProcesses
from agent.probes.grpc_health import GRPCUnhealthy, check_grpc_health
from agent.probes.http_get import HTTPFailed, send_get
from agent.probes.loop_lag import LoopLag
from agent.probes.patience import AgentDelayed, run_within
from agent.probes.plan import Outcome
from agent.runtime.errors import RuntimeServiceError
from kubeapi.pod import ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction

_MAX_OUTPUT: Final = 10 * 1024
_TOLERATED_LAG: Final = 0.1  # of the timeout
_GRPC_SLACK_SECONDS: Final = 10.0

CheckResult = tuple[Outcome, str]


class ProbeCheck:
    """`processes`: where the processes of a container are found, so that a command can be ended with its
    children.
    """

    def __init__(
        self, runtime: ExecService, lag: LoopLag, processes: ContainerProcesses | None = None
    ) -> None:
        self._guard = ExecGuard(runtime, processes)
        self._lag = lag
        self._dialer = Dialer()

    async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult:
        """The outcome and one sentence; a sentence to a PASSED is a warning. Never raises but for
        cancellation.
        """
        seconds = float(max(probe.timeout_seconds, 1))
        with self._lag.measure() as lag:
            if probe.exec is not None:
                return await self._run_exec(target, probe.exec, seconds)
            try:
                outcome, message = await run_within(self._run_network(target, probe, seconds), seconds, lag)
            except TimeoutError:
                return Outcome.FAILED, _describe_timeout(target, probe, seconds)
            except AgentDelayed:
                return Outcome.DELAYED, _describe_lag(lag.seconds())
            # A peer that had to wait for us may have hung up.
            if outcome is Outcome.FAILED and lag.seconds() > seconds * _TOLERATED_LAG:
                return Outcome.DELAYED, _describe_lag(lag.seconds())
            return outcome, message

    async def _run_network(self, target: ProbeTarget, probe: Probe, seconds: float) -> CheckResult:
        if probe.http_get is not None:
            return await self._run_http(target, probe.http_get)
        if probe.tcp_socket is not None:
            return await self._run_tcp(target, probe.tcp_socket)
        if probe.grpc is not None:
            return await _run_grpc(target, probe.grpc, seconds)
        return Outcome.UNKNOWN, "missing probe handler"

    async def _run_exec(self, target: ProbeTarget, action: ExecAction, seconds: float) -> CheckResult:
        try:
            result = await self._guard.run(target, action.command, seconds)
        except ExecTimedOut:
            command = " ".join(action.command)
            return Outcome.FAILED, f'command timed out: "{command}" timed out after {seconds:g}s'
        except RuntimeServiceError as error:
            return Outcome.UNKNOWN, str(error)
        if result.exit_code == 0:
            return Outcome.PASSED, ""
        said = (result.stdout + result.stderr)[:_MAX_OUTPUT].decode(errors="replace").strip()
        return Outcome.FAILED, said or f"command exited with {result.exit_code}"

    async def _run_http(self, target: ProbeTarget, action: HTTPGetAction) -> CheckResult:
        request = build_http_request(target.container, action, target.pod_ip)
        if isinstance(request, AddressRefused):
            return Outcome.UNKNOWN, request.message
        try:
            answer = await send_get(request, self._dialer)
        except HTTPFailed as error:
            return Outcome.FAILED, str(error)
        if not 200 <= answer.status < 400:
            return Outcome.FAILED, f"HTTP probe failed with statuscode: {answer.status}"
        if answer.status < 300:
            return Outcome.PASSED, ""
        body = answer.body.decode(errors="replace")
        return Outcome.PASSED, f"Probe terminated redirects, Response body: {body}"

    async def _run_tcp(self, target: ProbeTarget, action: TCPSocketAction) -> CheckResult:
        port = resolve_port(target.container, action.port)
        if isinstance(port, AddressRefused):
            return Outcome.UNKNOWN, port.message
        try:
            opened = await self._dialer.dial(action.host or target.pod_ip, port)
        except DialFailed as error:
            return Outcome.FAILED, str(error)
        opened.close()
        return Outcome.PASSED, ""


async def _run_grpc(target: ProbeTarget, action: GRPCAction, seconds: float) -> CheckResult:
    # The library's threads see a deadline pass that the loop's lag would excuse: it comes long after ours.
    patience = seconds * 2 + _GRPC_SLACK_SECONDS
    try:
        await check_grpc_health(target.pod_ip, action.port, action.service or "", deadline_seconds=patience)
    except GRPCUnhealthy as error:
        return Outcome.FAILED, str(error)
    except TimeoutError:
        return Outcome.DELAYED, "the answer was not read in time by the agent itself"
    return Outcome.PASSED, ""


def _describe_lag(seconds: float) -> str:
    return f"the agent itself was delayed for {seconds:.1f} s"


def _describe_timeout(target: ProbeTarget, probe: Probe, seconds: float) -> str:
    """In the words that Kubernetes' users know."""
    if probe.http_get is not None:
        request = build_http_request(target.container, probe.http_get, target.pod_ip)
        url = request.url if not isinstance(request, AddressRefused) else ""
        return f'Get "{url}": context deadline exceeded (no answer within {seconds:g} s)'
    if probe.tcp_socket is not None:
        port = resolve_port(target.container, probe.tcp_socket.port)
        return f"dial tcp {probe.tcp_socket.host or target.pod_ip}:{port}: i/o timeout"
    return f"timeout: health rpc did not complete within {seconds:g}s: context deadline exceeded"
