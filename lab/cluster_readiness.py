"""Waiting for a lab's server and nodes.

A shell around HTTPS. The server's socket listens before the server does, so connecting
waits in the backlog without any polling; nodes are watched. Called by `lab.cluster`.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from kubeapi.core import Node
from kubeapi.errors import KubeAPIError
from kubeapi.kubeconfig import ClientConfig, read_kubeconfig
from kubeapi.watch_stream import WatchEventType
from lab.control_plane import ControlPlane
from lab.errors import LabError
from lab.namespaces import call_in_netns
from lab.node_watch import list_nodes, watch_nodes
from lab.processes import Process, is_running
from lab.readiness import read_log_end

_RETRY_SECONDS = 0.05


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
    config = read_kubeconfig(kubeconfig)
    deadline = time.monotonic() + timeout_seconds
    missing = frozenset(names)
    why = "see the agents' logs"
    while time.monotonic() < deadline:
        try:
            for ready in _watch_ready_nodes(config, deadline):
                missing = frozenset(names) - ready
                if not missing:
                    return
        except KubeAPIError as error:
            if time.monotonic() < deadline:  # else it is only the watch that the deadline ended
                why = str(error)
                time.sleep(_RETRY_SECONDS)
    raise LabError(f"not Ready after {timeout_seconds:g} s: {', '.join(sorted(missing))} ({why})")


def read_node_readiness(kubeconfig: Path, timeout_seconds: float = 5) -> Mapping[str, bool]:
    """By node name; empty when the server doesn't answer."""
    try:
        nodes = list_nodes(read_kubeconfig(kubeconfig), time.monotonic() + timeout_seconds)
    except KubeAPIError:
        return {}
    return {node.metadata.name: is_node_ready(node) for node in nodes.items}


def is_node_ready(node: Node) -> bool:
    conditions = node.status.conditions
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


def _watch_ready_nodes(config: ClientConfig, deadline: float) -> Iterator[frozenset[str]]:
    """The names of the Ready nodes now, and again after each change, until the stream ends."""
    listed = list_nodes(config, deadline)
    ready = {node.metadata.name for node in listed.items if is_node_ready(node)}
    yield frozenset(ready)
    with closing(watch_nodes(config, listed.metadata.resource_version, deadline)) as events:
        for event in events:
            if event.type is not WatchEventType.DELETED and is_node_ready(event.object):
                ready.add(event.object.metadata.name)
            elif event.type is not WatchEventType.BOOKMARK:
                ready.discard(event.object.metadata.name)
            yield frozenset(ready)


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
