"""An agent that is stopped for longer than its probes' timeouts: no container has failed because of that."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

_ROOT = Path(__file__).resolve().parents[4]
_STOPPED_SECONDS = 3.0  # three timeouts
_KINDS = {"http", "tcp", "grpc", "exec"}


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers within a fifth of a second, and hangs up on who doesn't ask at once."""
    try:
        async with asyncio.timeout(0.5):
            await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def check_health(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    await asyncio.sleep(0.2)
    return b"\x08\x01"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, int]]:
    """The ports for HTTP and gRPC."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(check_health)
    healthy = grpc.aio.server()
    healthy.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    grpc_port = healthy.add_insecure_port("127.0.0.1:0")
    await healthy.start()
    server = await asyncio.start_server(serve_http, "127.0.0.1", 0)
    try:
        async with server:
            yield server.sockets[0].getsockname()[1], grpc_port
    finally:
        await healthy.stop(None)


async def read_outcomes(output: asyncio.StreamReader, rounds: int) -> list[str]:
    """The lines until each kind has been seen so many times."""
    lines: list[str] = []
    async with asyncio.timeout(30):
        while min(sum(line.startswith(kind) for line in lines) for kind in _KINDS) < rounds:
            lines.append((await output.readline()).decode().strip())
    return lines


async def test_no_container_fails_because_the_agent_was_stopped() -> None:
    async with serving() as (http_port, grpc_port):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("probing_process.py")),
            str(http_port),
            str(grpc_port),
            env={"PYTHONPATH": str(_ROOT), "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            before = await read_outcomes(process.stdout, 1)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_SECONDS)
            process.send_signal(signal.SIGCONT)
            after = await read_outcomes(process.stdout, 3)
        finally:
            process.kill()
            await process.communicate()
    assert {line.split()[1] for line in before} == {"passed"}
    assert {line.split()[1] for line in after} <= {"passed", "delayed", "unknown"}, after
    assert {line.split()[0] for line in after if line.split()[1] == "passed"} == _KINDS
