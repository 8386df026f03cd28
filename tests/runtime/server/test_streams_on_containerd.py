"""Exec through the relay, and logs through rotation, on real containerd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from agent.pods.ports import ContainerHandle, ContainerID, ProbeTarget, RunningPod, SandboxID
from agent.probes.check import ProbeCheck
from agent.probes.loop_lag import LoopLag
from agent.probes.plan import Outcome
from agent.runtime.client import RuntimeClient
from agent.server.listeners import listen
from agent.server.log_options import LogOptions
from agent.server.log_reader import read_log
from agent.server.streaming import Streaming
from kubeapi.meta import ObjectKey
from kubeapi.pod import ExecAction, Pod, Probe
from lab.bare_pods import BarePod, BareRuntime
from lab.images import SHELL_IMAGE
from lab.namespaces import call_in_netns
from lab.runtime_node import RuntimeNode
from tests.builders import container, pod

ResultT = TypeVar("ResultT")

_COUNTER = (
    "sh",
    "-c",
    "n=0; while true; do echo line $n; n=$((n+1)); [ $((n % 500)) = 0 ] && sleep 0.05; done",
)


@pytest.fixture
def shell_pod(bare_runtime: BareRuntime) -> Iterator[BarePod]:
    bare = bare_runtime.run_pod("shell", SHELL_IMAGE, ("sleep", "600"))
    yield bare
    bare_runtime.remove_pod(bare)


class _Directory:
    """Finds one pod of the runtime whatever is asked for."""

    def __init__(self, bare: BarePod) -> None:
        self._handle = ContainerHandle(
            pod(), SandboxID(bare.sandbox_id), ContainerID(bare.container_id), bare.log_file, True
        )

    def pods(self) -> tuple[Pod, ...]:
        return (self._handle.pod,)

    def running_pods(self) -> tuple[RunningPod, ...]:
        return ()

    def subscribe_running(self, handler: Callable[[], None]) -> None:
        raise AssertionError("the server doesn't subscribe")

    def find_container(
        self, key: ObjectKey, uid: str, container: str, previous: bool
    ) -> ContainerHandle | None:
        return self._handle


def _on_node(node: RuntimeNode, scenario: Callable[[RuntimeClient], Awaitable[ResultT]]) -> ResultT:
    """Runs the scenario inside the node's network, where the runtime's streaming server listens."""

    async def run() -> ResultT:
        async with asyncio.timeout(60), RuntimeClient(node.endpoint, node_name=node.name) as runtime:
            return await scenario(runtime)

    return call_in_netns(node.netns, lambda: asyncio.run(run()))


@asynccontextmanager
async def _serving(bare: BarePod, runtime: RuntimeClient) -> AsyncIterator[str]:
    streaming = Streaming(_Directory(bare), runtime)
    application = web.Application()
    application.router.add_get("/exec/{namespace}/{pod}/{container}", streaming.serve_exec)
    async with listen(application, "127.0.0.1", 0, None) as port:
        yield f"http://127.0.0.1:{port}/exec/default/shell/main"


async def _collect(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """What came on each channel: 1 is stdout, 2 is stderr, 3 is the command's status."""
    channels: dict[int, bytes] = {}
    async for message in socket:
        assert message.type is aiohttp.WSMsgType.BINARY
        channels[message.data[0]] = channels.get(message.data[0], b"") + message.data[1:]
    return channels


def test_exec_over_websocket(runtime_node: RuntimeNode, shell_pod: BarePod) -> None:
    async def scenario(runtime: RuntimeClient) -> dict[int, bytes]:
        async with _serving(shell_pod, runtime) as url, aiohttp.ClientSession() as session:
            query = "?command=sh&command=-c&command=echo+out;echo+err+>%262;exit+7&output=1&error=1"
            async with session.ws_connect(url + query, protocols=["v4.channel.k8s.io"]) as socket:
                assert socket.protocol == "v4.channel.k8s.io"
                return await _collect(socket)

    channels = _on_node(runtime_node, scenario)
    assert (channels[1], channels[2]) == (b"out\n", b"err\n")
    assert b'"7"' in channels[3]


def test_exec_takes_standard_input(runtime_node: RuntimeNode, shell_pod: BarePod) -> None:
    async def scenario(runtime: RuntimeClient) -> bytes:
        async with _serving(shell_pod, runtime) as url, aiohttp.ClientSession() as session:
            query = "?command=head&command=-c&command=5&input=1&output=1"
            async with session.ws_connect(url + query, protocols=["v4.channel.k8s.io"]) as socket:
                await socket.send_bytes(b"\0hello world")
                return (await _collect(socket))[1]

    assert _on_node(runtime_node, scenario) == b"hello"


def test_a_protocol_that_the_runtime_lacks_is_refused_so_that_clients_fall_back(
    runtime_node: RuntimeNode, shell_pod: BarePod
) -> None:
    async def scenario(runtime: RuntimeClient) -> int:
        async with _serving(shell_pod, runtime) as url, aiohttp.ClientSession() as session:
            headers = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Sec-WebSocket-Protocol": "v9.channel.k8s.io",
            }
            async with session.get(url + "?command=id&output=1", headers=headers) as answer:
                return answer.status

    assert _on_node(runtime_node, scenario) >= 400


def test_following_a_log_through_rotation_loses_no_line(
    runtime_node: RuntimeNode, bare_runtime: BareRuntime
) -> None:
    bare = bare_runtime.run_pod("counter", SHELL_IMAGE, _COUNTER)
    running = True

    async def scenario(runtime: RuntimeClient) -> bytes:
        output = bytearray()

        async def follow() -> None:
            async for piece in read_log(bare.log_file, LogOptions(follow=True), lambda: running):
                output.extend(piece)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.2)
        for rotation in range(10):
            bare.log_file.rename(f"{bare.log_file}.20260102-0304{rotation:02}")
            await runtime.reopen_container_log(ContainerID(bare.container_id))
            await asyncio.sleep(0.05)
        await runtime.stop_container(ContainerID(bare.container_id), 0)
        nonlocal running
        running = False
        await following
        return bytes(output)

    try:
        lines = _on_node(runtime_node, scenario).decode().splitlines()
    finally:
        bare_runtime.remove_pod(bare)
    assert len(lines) > 1000
    assert lines == [f"line {number}" for number in range(len(lines))]


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        (("true",), Outcome.PASSED),
        (("sh", "-c", "echo no; exit 1"), Outcome.FAILED),
        (("sleep", "30"), Outcome.FAILED),
        (("/absent",), Outcome.UNKNOWN),
    ],
)
def test_exec_probes(
    runtime_node: RuntimeNode, shell_pod: BarePod, command: tuple[str, ...], outcome: Outcome
) -> None:
    target = ProbeTarget(pod(), container(), ContainerID(shell_pod.container_id), shell_pod.ip, 0.0)
    probe = Probe(exec=ExecAction(command=command), timeout_seconds=1)

    async def scenario(runtime: RuntimeClient) -> tuple[Outcome, str]:
        return await ProbeCheck(runtime, LoopLag()).run(target, probe)

    found, message = _on_node(runtime_node, scenario)
    assert found is outcome, message
