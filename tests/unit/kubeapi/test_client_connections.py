"""A client that is closed leaves no connection behind, whatever its requests were waiting for."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from kubeapi.client import Client
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import NODES
from tests.unit.kubeapi.conftest import Pki

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Use = Callable[[Client, asyncio.Event], Awaitable[None]]

_OBJECT = b'{"metadata":{"name":"first"}}'
_EVENT = b'{"type":"BOOKMARK","object":' + _OBJECT + b"}\n"
_NODE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_OBJECT), _OBJECT)
_WATCH_BEGINS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(_EVENT), _EVENT)


class _SilentServer:
    """Takes one connection in a thread of its own and, past what it is to answer, never says a word.

    So it doesn't even answer the end of TLS, for which a client would wait.
    """

    def __init__(self, tls: ssl.SSLContext | None, answer: bytes) -> None:
        self._tls = tls
        self.answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._may_end = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.asked = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield
        finally:
            self._may_end.set()
            thread.join()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            connection.settimeout(10)
            if self._tls is None:
                connection.recv(1)
                self.asked.set()
                self._may_end.wait(20)
                return
            with self._tls.wrap_socket(connection, server_side=True) as talk, suppress(OSError):
                received = b""
                while not received.endswith(b"\r\n\r\n"):
                    received += talk.recv(65536)
                talk.sendall(self.answer)
                self.asked.set()
                self._may_end.wait(20)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    factory: LoopFactory = request.param
    return factory


def _find_leaks(factory: LoopFactory, server: _SilentServer, ca: bytes, use: Use) -> list[str]:
    """What the interpreter finds open once `use` was cancelled, its client closed and its loop over."""

    async def scenario() -> None:
        config = ClientConfig(server=f"https://127.0.0.1:{server.port}", ca_data=ca)
        async with asyncio.timeout(10), Client(config, user_agent="test") as client:
            answered = asyncio.Event()
            using = asyncio.ensure_future(use(client, answered))
            await asyncio.to_thread(server.asked.wait, 10)
            if server.answer:
                await answered.wait()
            using.cancel()
            with suppress(asyncio.CancelledError):
                await using

    with warnings.catch_warnings(record=True) as caught, server.running():
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario())
        gc.collect()
    return [str(each.message) for each in caught]


async def _get(client: Client, answered: asyncio.Event) -> None:
    await client.get(NODES, "first")
    answered.set()


async def _watch(client: Client, answered: asyncio.Event) -> None:
    async with aclosing(client.watch(NODES, resource_version="1")) as events:
        async for _event in events:
            answered.set()


@pytest.mark.parametrize(
    ("use", "answer"),
    [(_get, b""), (_get, _NODE), (_watch, b""), (_watch, _WATCH_BEGINS)],
    ids=["no answer yet", "idle afterwards", "watch not begun", "watching"],
)
def test_no_connection_outlives_its_client(
    loop_factory: LoopFactory,
    pki: Pki,
    tmp_path: Path,
    use: Use,
    answer: bytes,
) -> None:
    server = _SilentServer(pki.server_context(tmp_path), answer)
    assert _find_leaks(loop_factory, server, pki.ca, use) == []


def test_a_tls_handshake_that_goes_unanswered_is_given_up(loop_factory: LoopFactory, pki: Pki) -> None:
    assert _find_leaks(loop_factory, _SilentServer(None, b""), pki.ca, _get) == []
