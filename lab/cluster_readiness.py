"""Waiting for a lab's server and nodes.

A shell around HTTPS and a node informer. The server's socket listens before the server does, so connecting
waits in the backlog without any polling; nodes are watched. Called by `lab.cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.errors import KubeAPIError
from kubeapi.informer import Change, Informer
from kubeapi.kubeconfig import read_kubeconfig
from kubeapi.resources import NODES
from lab.control_plane import ControlPlane
from lab.errors import LabError
from lab.namespaces import call_in_netns
from lab.processes import Process, is_running
from lab.readiness import read_log_end

T = TypeVar("T")

_RETRY_SECONDS = 0.05
_USER_AGENT = "berth-lab"


def wait_for_server(control_plane: ControlPlane, process: Process, timeout_seconds: float) -> None:
    """Until /readyz answers 200 on the host's loopback; a LabError with the log's end when it dies."""
    deadline = time.monotonic() + timeout_seconds
    answer = "nothing yet"
    while time.monotonic() < deadline:
        if not is_running(process):
            raise LabError(f"the server ended while starting: {read_log_end(control_plane.log_file)}")
        answer = _read_readyz(control_plane.host_port, max(deadline - time.monotonic(), 0.1))
        if answer == "200":
            return
        time.sleep(_RETRY_SECONDS)  # it serves, and says what it still waits for
    end = read_log_end(control_plane.log_file)
    raise LabError(f"the server isn't ready after {timeout_seconds:g} s (/readyz: {answer}): {end}")


def wait_for_agent(netns: Path, port: int, process: Process, log_file: Path, timeout_seconds: float) -> None:
    """Until the agent answers on its health port."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if not is_running(process):
            raise LabError(f"the agent ended while starting: {read_log_end(log_file)}")
        if call_in_netns(netns, lambda: _read_healthz(port)) == "200":
            return
        time.sleep(_RETRY_SECONDS)
    raise LabError(f"the agent isn't healthy after {timeout_seconds:g} s: {read_log_end(log_file)}")


def wait_for_nodes(kubeconfig: Path, names: Collection[str], timeout_seconds: float) -> None:
    """Until all of them are Ready, seen by a watch."""
    _run_in_own_loop(_wait_for_nodes(kubeconfig, frozenset(names), timeout_seconds))


def read_node_readiness(kubeconfig: Path, timeout_seconds: float = 5) -> Mapping[str, bool]:
    """By node name; empty when the server doesn't answer."""
    try:
        return _run_in_own_loop(_read_node_readiness(kubeconfig, timeout_seconds))
    except (KubeAPIError, TimeoutError):
        return {}


def is_node_ready(node: Node) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions
    )


async def _wait_for_nodes(kubeconfig: Path, wanted: frozenset[str], timeout_seconds: float) -> None:
    ready: set[str] = set()
    changed = asyncio.Event()

    def notice(change: Change[Node]) -> None:
        if change.new is not None and is_node_ready(change.new):
            ready.add(change.new.metadata.name)
        else:
            ready.discard((change.new or change.old or Node()).metadata.name)
        changed.set()

    async with Client(read_kubeconfig(kubeconfig), user_agent=_USER_AGENT) as client:
        informer = Informer(client, NODES)
        informer.subscribe(notice)
        watching = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(timeout_seconds):
                while not wanted <= ready:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            missing = ", ".join(sorted(wanted - ready))
            why = informer.state().last_error or "see the agents' logs"
            raise LabError(f"not Ready after {timeout_seconds:g} s: {missing} ({why})") from None
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _read_node_readiness(kubeconfig: Path, timeout_seconds: float) -> Mapping[str, bool]:
    async with Client(read_kubeconfig(kubeconfig), user_agent=_USER_AGENT) as client:
        async with asyncio.timeout(timeout_seconds):
            nodes = await client.list(NODES)
    return {node.metadata.name: is_node_ready(node) for node in nodes.items}


def _run_in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """In a thread of its own, because the caller's may run a loop already (an asynchronous test)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            # uvloop's end of a loop closes what is open; asyncio's would leave an abandoned watch's TLS goodbye.
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                results.append(runner.run(work))
        except BaseException as error:  # carried to the caller's thread, below
            errors.append(error)

    thread = threading.Thread(target=run, name="lab-api")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _read_readyz(port: int, timeout_seconds: float) -> str:
    # Unverified on purpose: readiness comes before the authority's certificate is known, and carries no
    # secret.
    tls = ssl._create_unverified_context()
    return _read_status(
        http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout_seconds, context=tls), "/readyz"
    )


def _read_healthz(port: int) -> str:
    return _read_status(http.client.HTTPConnection("127.0.0.1", port, timeout=2), "/healthz")


def _read_status(connection: http.client.HTTPConnection, path: str) -> str:
    """The status code, or the reason that there is none."""
    try:
        connection.request("GET", path)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
