"""Runs lifecycle hooks: a command in the container, an HTTP request to the pod, or a pause.

IO through `ExecGuard` and one TCP connection. Called by `execute`. Follows the "Container Lifecycle Hooks"
page: a hook is tried once, and its failure is told, not retried. As upstream, any HTTP answer will do,
whatever its status.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agent.pods.outcomes import HookFailed
from agent.pods.ports import ProbeTarget
from agent.probes.address import AddressRefused, build_http_request, resolve_port
from agent.probes.dial import Dialer, DialFailed
from agent.probes.exec_guard import ExecGuard, ExecTimedOut
from agent.probes.exec_watch import ContainerProcesses
from agent.probes.http_get import HOOK_AGENT, HTTPFailed, send_get
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.service import RuntimeService
from kubeapi.pod import HTTPGetAction, LifecycleHandler, TCPSocketAction

_CLEANUP_SECONDS: Final = 1.0  # for what a command that was cut leaves behind


class HookRunner:
    """Each hook has a deadline: what is left of the grace period, or the caller's own bound."""

    def __init__(self, runtime: RuntimeService, processes: ContainerProcesses | None = None) -> None:
        self._guard = ExecGuard(runtime, processes)
        self._dialer = Dialer()

    async def run(self, hook: LifecycleHandler, target: ProbeTarget, seconds: float) -> HookFailed | None:
        """None when it succeeded."""
        try:
            if hook.exec is not None:
                async with asyncio.timeout(seconds + _CLEANUP_SECONDS):
                    return await self._run_command(target, hook.exec.command, seconds)
            async with asyncio.timeout(seconds):
                return await self._run(hook, target)
        except (TimeoutError, ExecTimedOut):
            return HookFailed(f"the hook didn't end within {seconds:.0f} s")
        except (RuntimeServiceError, HTTPFailed, DialFailed) as error:
            return HookFailed(str(error))

    async def _run(self, hook: LifecycleHandler, target: ProbeTarget) -> HookFailed | None:
        if hook.http_get is not None:
            return await self._send_get(hook.http_get, target)
        if hook.sleep is not None:
            await asyncio.sleep(hook.sleep.seconds)
        elif hook.tcp_socket is not None:
            return await self._connect(hook.tcp_socket, target)
        return None

    async def _run_command(
        self, target: ProbeTarget, command: tuple[str, ...], seconds: float
    ) -> HookFailed | None:
        result = await self._guard.run(target, command, seconds)
        if result.exit_code == 0:
            return None
        said = (result.stderr or result.stdout)[:1024].decode(errors="replace").strip()
        return HookFailed(f"the command {command!r} exited with {result.exit_code}: {said}")

    async def _send_get(self, action: HTTPGetAction, target: ProbeTarget) -> HookFailed | None:
        request = build_http_request(target.container, action, target.pod_ip)
        if isinstance(request, AddressRefused):
            return HookFailed(request.message)
        await send_get(request, self._dialer, HOOK_AGENT)
        return None

    async def _connect(self, action: TCPSocketAction, target: ProbeTarget) -> HookFailed | None:
        port = resolve_port(target.container, action.port)
        if isinstance(port, AddressRefused):
            return HookFailed(port.message)
        (await self._dialer.dial(action.host or target.pod_ip, port)).close()
        return None
