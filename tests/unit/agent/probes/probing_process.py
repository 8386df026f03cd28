"""Probes what its parent serves, over and over, and prints each outcome: a process that can be stopped.

IO: standard output, and loopback. Started by `test_stopped_agent` with the ports for HTTP and gRPC.
"""

from __future__ import annotations

import asyncio
import sys

from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.check import ProbeCheck
from agent.probes.exec_guard import ExecService
from agent.probes.loop_lag import LoopLag
from agent.runtime.values import ExecResult
from kubeapi.pod import ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction
from tests.builders import container, pod


class LocalExec(ExecService):
    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        process = await asyncio.create_subprocess_exec(*command)
        async with asyncio.timeout(timeout_seconds + 5):
            return ExecResult(b"", b"", await process.wait())


async def probe_forever(check: ProbeCheck, name: str, probe: Probe) -> None:
    target = ProbeTarget(pod(), container(), ContainerID("c1"), "127.0.0.1", 0.0)
    while True:
        outcome, message = await check.run(target, probe)
        print(name, outcome.value, message, flush=True)


async def main(http_port: int, grpc_port: int) -> None:
    check = ProbeCheck(LocalExec(), LoopLag())
    probes = {
        "http": Probe(http_get=HTTPGetAction(port=http_port)),
        "tcp": Probe(tcp_socket=TCPSocketAction(port=http_port)),
        "grpc": Probe(grpc=GRPCAction(port=grpc_port)),
        "exec": Probe(exec=ExecAction(command=("sleep", "0.2"))),
    }
    async with asyncio.TaskGroup() as group:
        for name, probe in probes.items():
            group.create_task(probe_forever(check, name, probe))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
