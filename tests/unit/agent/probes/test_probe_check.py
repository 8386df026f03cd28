"""One try of a probe against real sockets on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from agent.pods.ports import ContainerID, ProbeTarget
from agent.probes.check import CheckResult, ProbeCheck
from agent.probes.grpc_health import encode_request
from agent.probes.loop_lag import LoopLag
from agent.probes.plan import Outcome
from agent.runtime.errors import RuntimeServiceError
from agent.runtime.values import ExecResult
from kubeapi.pod import ExecAction, GRPCAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction
from tests.builders import container, pod

_GOOD = ExecResult(b"", b"", 0)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Runtime:
    """Answers exec with what a test puts in; an exception is raised."""

    def __init__(self, answer: ExecResult | Exception) -> None:
        self.answer = answer

    async def exec_sync(
        self, container_id: ContainerID, command: tuple[str, ...], timeout_seconds: float
    ) -> ExecResult:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _target() -> ProbeTarget:
    return ProbeTarget(pod(), container(), ContainerID("c1"), "127.0.0.1", 0.0)


async def _check(probe: Probe, answer: ExecResult | Exception = _GOOD) -> CheckResult:
    return await ProbeCheck(_Runtime(answer), LoopLag()).run(_target(), probe)


@asynccontextmanager
async def _serving(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_and_close, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _answering(*answers: str, heads: list[str] | None = None) -> Serve:
    """A server that gives each connection the next answer, the last one again and again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heads is not None:
            heads.append(head)
        writer.write((left.pop(0) if len(left) > 1 else left[0]).encode())
        await writer.drain()

    return serve


def _status(code: int, headers: Mapping[str, str] | None = None) -> str:
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {code} Words\r\n{fields}Content-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (200, (Outcome.PASSED, "")),
        (299, (Outcome.PASSED, "")),
        (399, (Outcome.PASSED, "Probe terminated redirects, Response body: ok")),
        (400, (Outcome.FAILED, "HTTP probe failed with statuscode: 400")),
        (503, (Outcome.FAILED, "HTTP probe failed with statuscode: 503")),
    ],
)
async def test_http_status(code: int, expected: CheckResult) -> None:
    async with _serving(_answering(_status(code))) as port:
        assert await _check(Probe(http_get=HTTPGetAction(port=port))) == expected


async def test_http_request_has_the_probes_headers() -> None:
    heads: list[str] = []
    headers = (HTTPHeader(name="Host", value="example.com"), HTTPHeader(name="X-Probe", value="1"))
    async with _serving(_answering(_status(200), heads=heads)) as port:
        await _check(Probe(http_get=HTTPGetAction(path="/live?x=1", port=port, http_headers=headers)))
    lines = heads[0].split("\r\n")
    assert lines[0] == "GET /live?x=1 HTTP/1.1"
    assert {"User-Agent: kube-probe/1.36+", "Host: example.com", "X-Probe: 1", "Connection: close"} <= set(
        lines
    )
    assert sum(line.lower().startswith("host:") for line in lines) == 1


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    heads: list[str] = []
    answers = (_status(302, {"Location": "/other"}), _status(500))
    async with _serving(_answering(*answers, heads=heads)) as port:
        outcome, _ = await _check(Probe(http_get=HTTPGetAction(port=port)))
    assert outcome is Outcome.FAILED
    assert heads[1].startswith("GET /other ")


async def test_a_redirect_elsewhere_is_a_success_and_an_endless_one_is_not() -> None:
    async with _serving(_answering(_status(302, {"Location": "http://example.com/"}))) as port:
        assert await _check(Probe(http_get=HTTPGetAction(port=port))) == (
            Outcome.PASSED,
            "Probe terminated redirects, Response body: ok",
        )
    heads: list[str] = []
    async with _serving(_answering(_status(302, {"Location": "/"}), heads=heads)) as port:
        assert await _check(Probe(http_get=HTTPGetAction(port=port))) == (
            Outcome.FAILED,
            f'Get "http://127.0.0.1:{port}/": stopped after 10 redirects',
        )
    assert len(heads) == 10


@pytest.mark.parametrize("location", ["http://[bad", "http://127.0.0.1:port/"])
async def test_a_redirect_to_nowhere_fails(location: str) -> None:
    async with _serving(_answering(_status(302, {"Location": location}))) as port:
        assert (await _check(Probe(http_get=HTTPGetAction(port=port))))[0] is Outcome.FAILED


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nok", Outcome.FAILED),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n" + "x" * 10240, Outcome.PASSED),
        ("HTTP/1.1 200 OK\r\n\r\nok", Outcome.PASSED),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Outcome.PASSED),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n", Outcome.FAILED),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n", Outcome.FAILED),
        ("HTTP/1.1 204 None\r\n\r\n", Outcome.PASSED),
    ],
)
async def test_an_answer_counts_once_its_body_is_there(answer: str, outcome: Outcome) -> None:
    async with _serving(_answering(answer)) as port:
        assert (await _check(Probe(http_get=HTTPGetAction(port=port))))[0] is outcome


async def test_the_rest_of_a_chunked_answer_is_not_waited_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        await reader.read()  # a server that keeps the connection all the same

    async with _serving(serve) as port:
        assert await _check(Probe(http_get=HTTPGetAction(port=port))) == (Outcome.PASSED, "")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", "GET / HTTP/1.1"),
        ("live", "GET /live HTTP/1.1"),
        ("/a b/\u00e9?q=1 2#here", "GET /a%20b/%C3%A9?q=1%202 HTTP/1.1"),
        ("/a%20b", "GET /a%20b HTTP/1.1"),
    ],
)
async def test_http_paths(path: str, line: str) -> None:
    heads: list[str] = []
    async with _serving(_answering(_status(200), heads=heads)) as port:
        assert await _check(Probe(http_get=HTTPGetAction(path=path, port=port, scheme="HTTP"))) == (
            Outcome.PASSED,
            "",
        )
    assert heads[0].split("\r\n")[0] == line


@pytest.mark.parametrize("answer", ["", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200"])
async def test_what_is_not_http_fails(answer: str) -> None:
    async with _serving(_answering(answer)) as port:
        outcome, message = await _check(Probe(http_get=HTTPGetAction(port=port)))
    assert outcome is Outcome.FAILED
    assert message


async def test_interim_answers_are_skipped() -> None:
    async with _serving(_answering("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _status(204))) as port:
        assert (await _check(Probe(http_get=HTTPGetAction(port=port))))[0] is Outcome.PASSED


async def test_a_server_that_never_answers_fails_after_the_timeout() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with _serving(serve) as port:
        outcome, message = await _check(Probe(http_get=HTTPGetAction(port=port), timeout_seconds=1))
    assert (outcome, message) == (
        Outcome.FAILED,
        f'Get "http://127.0.0.1:{port}/": context deadline exceeded (no answer within 1 s)',
    )


async def test_a_delay_of_our_own_loop_is_no_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        time.sleep(1.2)  # noqa: ASYNC251 - the loop itself stands still, on purpose
        await asyncio.sleep(0.2)
        writer.write(_status(200).encode())

    async with _serving(serve) as port:
        assert await _check(Probe(http_get=HTTPGetAction(port=port), timeout_seconds=1)) == (
            Outcome.PASSED,
            "",
        )


async def test_a_peer_that_hung_up_while_our_loop_stood_still_has_not_failed() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        time.sleep(0.3)  # noqa: ASYNC251 - the loop itself stands still, on purpose

    async with _serving(serve) as port:
        outcome, message = await _check(Probe(http_get=HTTPGetAction(port=port), timeout_seconds=1))
    assert outcome is Outcome.DELAYED
    assert message == "the agent itself was delayed for 0.3 s"


async def test_a_container_that_never_answers_is_found_out_however_slow_our_loop_is() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def hold_up_the_loop() -> None:
        while True:
            time.sleep(0.03)  # noqa: ASYNC251 - the loop itself stands still, on purpose
            await asyncio.sleep(0.03)

    slow = asyncio.ensure_future(hold_up_the_loop())
    async with _serving(serve) as port:
        outcome, _ = await _check(Probe(http_get=HTTPGetAction(port=port), timeout_seconds=1))
    slow.cancel()
    assert outcome is Outcome.FAILED


async def test_tcp() -> None:
    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with _serving(serve) as port:
        assert await _check(Probe(tcp_socket=TCPSocketAction(port=port))) == (Outcome.PASSED, "")
    assert await _check(Probe(tcp_socket=TCPSocketAction(port=port))) == (
        Outcome.FAILED,
        f"dial tcp 127.0.0.1:{port}: connect: connection refused",
    )


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_a_host_of_its_own(host: str) -> None:
    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with _serving(serve, host) as port:
        assert await _check(Probe(tcp_socket=TCPSocketAction(host=host, port=port))) == (Outcome.PASSED, "")


async def test_a_host_without_an_address() -> None:
    assert await _check(Probe(tcp_socket=TCPSocketAction(host="no-such-host.invalid", port=1))) == (
        Outcome.FAILED,
        "dial tcp: lookup no-such-host.invalid: no such host",
    )


async def test_connections_leave_no_ports_behind() -> None:
    """The peer, which is told in order, closes after us; nothing of ours waits for a minute."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""

    async with _serving(serve) as port:
        for _ in range(20):
            assert await _check(Probe(tcp_socket=TCPSocketAction(port=port))) == (Outcome.PASSED, "")
        async with asyncio.timeout(5):
            while _list_sockets_to(port):  # noqa: ASYNC110 - the kernel ends them
                await asyncio.sleep(0.02)


def _list_sockets_to(port: int) -> list[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[2].endswith(f":{port:04X}")]


async def test_a_port_that_is_not_there_says_nothing_of_the_container() -> None:
    assert (await _check(Probe(tcp_socket=TCPSocketAction(port="absent"))))[0] is Outcome.UNKNOWN
    assert (await _check(Probe(http_get=HTTPGetAction(port="absent"))))[0] is Outcome.UNKNOWN
    assert (await _check(Probe()))[0] is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ExecResult(b"", b"", 0), (Outcome.PASSED, "")),
        (ExecResult(b"out ", b"err\n", 1), (Outcome.FAILED, "out err")),
        (ExecResult(b"", b"", 3), (Outcome.FAILED, "command exited with 3")),
        (RuntimeServiceError("the runtime is away"), (Outcome.UNKNOWN, "the runtime is away")),
    ],
)
async def test_exec(answer: ExecResult | Exception, expected: CheckResult) -> None:
    assert await _check(Probe(exec=ExecAction(command=("check", "--now"))), answer) == expected


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(b"\x08\x01", Outcome.PASSED), (b"\x08\x02", Outcome.FAILED), (b"", Outcome.FAILED)],
)
async def test_grpc(answer: bytes, outcome: Outcome) -> None:
    asked: list[bytes] = []

    async def check(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        asked.append(request)
        return answer

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await _check(Probe(grpc=GRPCAction(port=port, service="db"), timeout_seconds=5)))[
            0
        ] is outcome
    finally:
        await server.stop(None)
    assert asked == [b"\x0a\x02db"]


async def _ask_grpc_server(*handlers: grpc.GenericRpcHandler, seconds: int = 5) -> CheckResult:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await _check(Probe(grpc=GRPCAction(port=port), timeout_seconds=seconds))
    finally:
        await server.stop(None)


async def test_a_grpc_server_without_health_service() -> None:
    outcome, message = await _ask_grpc_server()
    assert outcome is Outcome.FAILED
    assert message.startswith(
        "error: this server does not implement the grpc health protocol (grpc.health.v1."
    )


async def test_a_grpc_server_that_does_not_answer() -> None:
    async def check(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await asyncio.sleep(60)
        return b""

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(check)
    serving = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
    assert await _ask_grpc_server(serving, seconds=1) == (
        Outcome.FAILED,
        "timeout: health rpc did not complete within 1s: context deadline exceeded",
    )


async def test_a_grpc_server_that_is_not_there() -> None:
    outcome, message = await _check(Probe(grpc=GRPCAction(port=1), timeout_seconds=5))
    assert outcome is Outcome.FAILED
    assert message.startswith('error: failed to connect service at "127.0.0.1:1": ')


def test_grpc_request_encoding() -> None:
    assert encode_request("") == b""
    assert encode_request("x" * 200)[:3] == b"\x0a\xc8\x01"
