"""How a client of the node's server comes to the runtime's streams, and what it is told when it can't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from agent.pods.ports import ContainerHandle, ContainerID, RunningPod, SandboxID
from agent.server.listeners import listen
from agent.server.streaming import Streaming, parse_stream_url
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.upgrade.backend import UpgradeTarget
from kubeapi.upgrade.messages import UpgradeFailed
from tests.builders import pod

_REQUEST = (
    b"POST /exec/default/web-1/web?command=cat&input=1 HTTP/1.1\r\nHost: node\r\n"
    b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"
)


class _Directory:
    """One pod whose container runs."""

    def __init__(self) -> None:
        self._handle = ContainerHandle(pod(), SandboxID("s1"), ContainerID("c1"), Path("/absent.log"), True)

    def note_exit(self) -> None:
        self._handle = replace(self._handle, running=False)

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


class _Runtime:
    """Says that every stream is at one URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def open_exec(
        self,
        container_id: ContainerID,
        command: tuple[str, ...],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str:
        return self._url

    async def open_attach(
        self, container_id: ContainerID, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        return self._url

    async def open_port_forward(self, sandbox_id: SandboxID, ports: tuple[int, ...]) -> str:
        return self._url


@asynccontextmanager
async def _asking(
    url: str, directory: _Directory | None = None, request: bytes = _REQUEST
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The connection of a client that has asked a node for a stream which the runtime has at `url`."""
    application = web.Application()
    streaming = Streaming(directory or _Directory(), _Runtime(url))
    application.router.add_post("/exec/{namespace}/{pod}/{container}", streaming.serve_exec)
    application.router.add_post("/attach/{namespace}/{pod}/{container}", streaming.serve_attach)
    async with asyncio.timeout(20), listen(application, "127.0.0.1", 0, None) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


async def test_a_stream_is_joined_with_the_runtimes() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n")
        writer.write(await reader.readexactly(5))
        writer.close()

    runtime = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with runtime:
        where = f"127.0.0.1:{runtime.sockets[0].getsockname()[1]}"
        async with _asking(f"http://{where}/exec/TOKEN") as (reader, writer):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(b"hello")
            assert await reader.read() == b"hello"
    assert heads[0].startswith(f"POST /exec/TOKEN HTTP/1.1\r\nHost: {where}\r\n".encode())


async def test_an_attached_stream_ends_with_its_container() -> None:
    """Even if the runtime forgets to end it."""
    directory, left = _Directory(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\nhi")
        assert await reader.read() == b""
        left.set()
        writer.close()

    runtime = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with runtime:
        url = f"http://127.0.0.1:{runtime.sockets[0].getsockname()[1]}/attach/TOKEN"
        attach = _REQUEST.replace(b"/exec/", b"/attach/")
        async with _asking(url, directory, attach) as (reader, _):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.readexactly(2) == b"hi"
            directory.note_exit()
            assert await reader.read() == b""
        await left.wait()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/exec/TOKEN", "the runtime's streaming server at 127.0.0.1:1: "),
        ("https://127.0.0.1:1/exec/TOKEN", "the runtime's streaming server at an unreadable URL: only URLs"),
        ("http://[::1/exec/TOKEN", "the runtime's streaming server at an unreadable URL: "),
    ],
)
async def test_a_streaming_server_out_of_reach_is_a_bad_gateway(url: str, why: str) -> None:
    async with _asking(url) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 502 ")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        said = (await reader.readexactly(length)).decode()
    assert said.startswith(why)
    assert "TOKEN" not in said


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:9/exec/T", UpgradeTarget("127.0.0.1", 9, "/exec/T")),
        ("http://[::1]:9/attach/T?x=%2F", UpgradeTarget("::1", 9, "/attach/T?x=%2F")),
        ("http://runtime", UpgradeTarget("runtime", 80, "/")),
    ],
)
def test_the_url_of_a_stream(url: str, target: UpgradeTarget) -> None:
    assert parse_stream_url(url) == target


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:9/", "unix:///run/x", "", "http://:9/", "http://a:x/", "http://[::1/"]
)
def test_urls_that_are_not_spoken(url: str) -> None:
    with pytest.raises(UpgradeFailed):
        parse_stream_url(url)
