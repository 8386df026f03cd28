"""Runs lifecycle hooks: a command in the container, an HTTP request to the pod, or a pause.

IO through the runtime port and one TCP connection. Called by `execute`. Follows the "Container Lifecycle
Hooks" page: a hook is tried once, and its failure is told, not retried.
"""

from __future__ import annotations

import asyncio

from agent.pods.outcomes import HookFailed
from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.address import AddressRefused, build_http_request, resolve_port
from agent.probes.http_get import HTTPFailed, send_get
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.service import RuntimeService
from kubeapi.pod import HTTPGetAction, LifecycleHandler, TCPSocketAction


class HookRunner:
    """Each hook has a deadline: what is left of the grace period, or the caller's own bound."""

    def __init__(self, runtime: RuntimeService) -> None:
        self._runtime = runtime

    async def run(self, hook: LifecycleHandler, target: ProbeTarget, seconds: float) -> HookFailed | None:
        """None when it succeeded."""
        try:
            async with asyncio.timeout(seconds):
                return await self._run(hook, target, seconds)
        except TimeoutError:
            return HookFailed(f"the hook didn't end within {seconds:.0f} s")
        except (RuntimeServiceError, HTTPFailed, OSError) as error:
            return HookFailed(str(error))

    async def _run(self, hook: LifecycleHandler, target: ProbeTarget, seconds: float) -> HookFailed | None:
        if hook.exec is not None:
            return await self._run_command(target.container_id, hook.exec.command, seconds)
        if hook.http_get is not None:
            return await _send_get(hook.http_get, target)
        if hook.sleep is not None:
            await asyncio.sleep(hook.sleep.seconds)
        elif hook.tcp_socket is not None:
            return await _connect(hook.tcp_socket, target)
        return None

    async def _run_command(
        self, container_id: ContainerID, command: tuple[str, ...], seconds: float
    ) -> HookFailed | None:
        result = await self._runtime.exec_sync(container_id, command, seconds)
        if result.exit_code == 0:
            return None
        said = (result.stderr or result.stdout)[:1024].decode(errors="replace").strip()
        return HookFailed(f"the command {command!r} exited with {result.exit_code}: {said}")


async def _send_get(action: HTTPGetAction, target: ProbeTarget) -> HookFailed | None:
    request = build_http_request(target.container, action, target.pod_ip)
    if isinstance(request, AddressRefused):
        return HookFailed(request.message)
    answer = await send_get(request)
    return None if answer.status < 400 else HookFailed(f"HTTP status {answer.status}")


async def _connect(action: TCPSocketAction, target: ProbeTarget) -> HookFailed | None:
    port = resolve_port(target.container, action.port)
    if isinstance(port, AddressRefused):
        return HookFailed(port.message)
    _, writer = await asyncio.open_connection(action.host or target.pod_ip, port)
    writer.close()
    await writer.wait_closed()
    return None
