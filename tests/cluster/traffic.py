"""Connections in a lab's network namespaces: servers that say who asked, single requests, endless streams of
them.

Sockets belong to the namespace in which they were made, whichever thread uses them; every program here is a
thread of the test. `Network` is where to make them: a node's namespace, or a pod's.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab.demo.requests import read_answer
from lab.namespaces import call_in_netns

ASK_SECONDS: Final = 3.0
WAIT_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.01
_DATAGRAM_BYTES: Final = 2048
_DATAGRAMS: Final = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """What an `echo_server` says: its own name, and the address from which it was asked."""

    server: str
    client: str


class Refused(Exception):
    """Nobody takes the connection or datagram; said at once, not after a wait."""


# --- one request --------------------------------------------------------------------------------------------


def ask_tcp(netns: Path, host: str, port: int) -> Answer:
    """Refused when there is a refusal, TimeoutError when there is nothing."""

    def ask() -> Answer:
        with socket.create_connection((host, port), timeout=ASK_SECONDS) as connection:
            return _parse_answer(connection.recv(_DATAGRAM_BYTES))

    return _call(netns, ask)


def ask_udp(netns: Path, host: str, port: int, source_port: int = 0) -> Answer:
    """As `ask_tcp`, from a free port if none is given; asks again: kernels limit how often they refuse."""

    def ask() -> Answer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(ASK_SECONDS / _DATAGRAMS)
            sender.bind(("", source_port))
            sender.connect((host, port))
            for _ in range(_DATAGRAMS):
                sender.send(b"who")
                with contextlib.suppress(TimeoutError):
                    return _parse_answer(sender.recv(_DATAGRAM_BYTES))
        raise TimeoutError(f"no answer to {_DATAGRAMS} datagrams")

    return _call(netns, ask)


def ask_http(netns: Path, url: str) -> str:
    """The body of one GET; OSError when there is none."""
    return call_in_netns(netns, lambda: read_answer(url))


def ask_until_all_answered(ask: Callable[[], Answer], servers: set[str]) -> Counter[str]:
    """Answers by server, until each has answered; AssertionError after as many as chance can't explain."""
    answers: Counter[str] = Counter()
    for _ in range(64 * len(servers)):
        answers[ask().server] += 1
        if answers.keys() >= servers:
            break
    assert answers.keys() == servers, f"of {servers} only {dict(answers)} answered"
    return answers


def _call(netns: Path, ask: Callable[[], Answer]) -> Answer:
    try:
        return call_in_netns(netns, ask)
    except (ConnectionRefusedError, ConnectionResetError, PermissionError) as error:
        # A datagram that its own machine's rules reject is "not permitted".
        raise Refused(str(error)) from error


def _parse_answer(data: bytes) -> Answer:
    server, _, client = data.decode().partition(" ")
    if not client:
        raise ConnectionResetError("the connection ended without an answer")
    return Answer(server, client)


# --- servers ------------------------------------------------------------------------------------------------


@contextmanager
def echo_server(netns: Path, name: str, port: int) -> Iterator[None]:
    """TCP and UDP on that port of every address in the namespace, while the block runs."""
    tcp, udp = call_in_netns(netns, lambda: _open_sockets(port))
    threads = [
        threading.Thread(target=_serve_tcp, args=(tcp, name), name=f"tcp {name}"),
        threading.Thread(target=_serve_udp, args=(udp, name), name=f"udp {name}"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for listener in (tcp, udp):
            # close alone doesn't wake a thread that waits in accept or recvfrom
            _shut_down(listener)
        for thread in threads:
            thread.join()
        tcp.close()
        udp.close()


def _open_sockets(port: int) -> tuple[socket.socket, socket.socket]:
    tcp = socket.create_server(("0.0.0.0", port), backlog=64)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    return tcp, udp


def _shut_down(listener: socket.socket) -> None:
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # an unconnected UDP socket says ENOTCONN, and is woken all the same


def _serve_tcp(listener: socket.socket, name: str) -> None:
    while True:
        try:
            connection, (client, _) = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"{name} {client}".encode())


def _serve_udp(listener: socket.socket, name: str) -> None:
    while True:
        data, client = listener.recvfrom(_DATAGRAM_BYTES)
        if not data:
            return
        listener.sendto(f"{name} {client[0]}".encode(), client)


# --- endless requests ---------------------------------------------------------------------------------------

Ask = Callable[[], str]


@dataclass(slots=True)
class Stream:
    """What became of one endless row of requests so far."""

    name: str
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return self.answers.total() + len(self.failures)


@contextmanager
def request_streams(asks: Mapping[str, Ask]) -> Iterator[tuple[Stream, ...]]:
    """Asks again and again, each on a new connection, while the block runs, which begins once all answer."""
    ended = threading.Event()
    streams = tuple(map(Stream, asks))
    answered = tuple(threading.Event() for _ in asks)
    threads = [
        threading.Thread(target=_ask_endlessly, args=(ask, stream, ended, first), name=stream.name)
        for ask, stream, first in zip(asks.values(), streams, answered, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        assert all(first.wait(ASK_SECONDS * 2) for first in answered), f"not all answer: {streams}"
        yield streams
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _ask_endlessly(ask: Ask, stream: Stream, ended: threading.Event, answered: threading.Event) -> None:
    while not ended.wait(_PAUSE_SECONDS):
        asked_at = time.monotonic()
        try:
            stream.answers[ask()] += 1
            answered.set()
        except (OSError, Refused, http.client.HTTPException) as error:
            stream.failures.append(f"after {time.monotonic() - asked_at:.2f} s: {error!r}")


async def wait_for_requests(streams: Iterable[Stream], count: int) -> None:
    """Until each has asked that many times more: whoever answers works, whatever is dead meanwhile."""
    goals = [(stream, stream.asked + count) for stream in streams]
    deadline = time.monotonic() + WAIT_SECONDS
    while any(stream.asked < goal for stream, goal in goals):
        assert time.monotonic() < deadline, f"requests hang: {goals}"
        await asyncio.sleep(_PAUSE_SECONDS)
