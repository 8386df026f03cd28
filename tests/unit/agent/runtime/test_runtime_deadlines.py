"""How long calls may take: a runtime that notes what it is asked and how long its caller waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from agent.pods.ports import ContainerID
from agent.runtime.client import RuntimeClient
from cri_proto.runtime.v1 import api_pb2 as cri

WEB = ContainerID("web")


class _Runtime:
    def __init__(self) -> None:
        self.asked_seconds = 0
        self.waits_seconds = 0.0

    async def exec_sync(self, request: cri.ExecSyncRequest, context: Any) -> cri.ExecSyncResponse:
        self.asked_seconds, self.waits_seconds = request.timeout, context.time_remaining()
        return cri.ExecSyncResponse(exit_code=3)

    async def stop_container(
        self, request: cri.StopContainerRequest, context: Any
    ) -> cri.StopContainerResponse:
        self.asked_seconds, self.waits_seconds = request.timeout, context.time_remaining()
        return cri.StopContainerResponse()

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "ExecSync": grpc.unary_unary_rpc_method_handler(
                self.exec_sync, cri.ExecSyncRequest.FromString, cri.ExecSyncResponse.SerializeToString
            ),
            "StopContainer": grpc.unary_unary_rpc_method_handler(
                self.stop_container,
                cri.StopContainerRequest.FromString,
                cri.StopContainerResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", methods)


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[tuple[_Runtime, RuntimeClient]]:
    server, servicer = grpc.aio.server(), _Runtime()
    server.add_generic_rpc_handlers((servicer.handlers(),))
    endpoint = f"unix://{tmp_path}/runtime.sock"
    server.add_insecure_port(endpoint)
    await server.start()
    try:
        async with RuntimeClient(endpoint, node_name="n1") as client:
            yield servicer, client
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("wanted", "asked"), [(0.2, 1), (1.0, 1), (1.2, 2), (2.5, 3), (30, 30)])
async def test_a_command_has_no_less_time_than_its_caller_gives_it(
    runtime: tuple[_Runtime, RuntimeClient], wanted: float, asked: int
) -> None:
    servicer, client = runtime
    assert (await client.exec_sync(WEB, ("true",), wanted)).exit_code == 3
    assert servicer.asked_seconds == asked
    assert servicer.waits_seconds > asked + 2


@pytest.mark.parametrize("grace", [0, 30, 3600])
async def test_a_stop_is_waited_for_longer_than_its_grace_period(
    runtime: tuple[_Runtime, RuntimeClient], grace: int
) -> None:
    servicer, client = runtime
    await client.stop_container(WEB, grace)
    assert servicer.asked_seconds == grace
    assert servicer.waits_seconds > grace + 10
