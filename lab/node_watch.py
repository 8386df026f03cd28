"""The Node objects of a lab's cluster, listed and watched without an event loop.

A shell around `http.client`, because the lab is synchronous and stops watching in the middle of a stream,
which here is the end of one socket. What goes over it is decoded by `kubeapi`. Called by
`lab.cluster_readiness`.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

from kubeapi.codec import ObjectList, decode_list, decoder_for
from kubeapi.core import Node
from kubeapi.errors import Unreachable
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import NODES
from kubeapi.tls import build_tls_context
from kubeapi.transport import build_error
from kubeapi.watch_stream import WatchEvent, parse_watch_event

_MINIMUM_SECONDS = 0.1


def list_nodes(config: ClientConfig, deadline: float) -> ObjectList[Node]:
    """All nodes, and the resource version to watch from; `deadline` is a time of the monotonic clock."""
    with _opened(config, NODES.path(), deadline) as (_, answer):
        return decode_list(NODES, answer.read())


def watch_nodes(
    config: ClientConfig, resource_version: str, deadline: float
) -> Generator[WatchEvent[Node], None, None]:
    """Changes as they come, until the server ends the stream; Unreachable once the deadline is over."""
    query = urlencode({"watch": "true", "resourceVersion": resource_version})
    decoder = decoder_for(NODES.view)
    with _opened(config, f"{NODES.path()}?{query}", deadline) as (connection, answer):
        while line := _read_line(connection, answer, deadline):
            yield parse_watch_event(line, decoder)


def _read_line(
    connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, deadline: float
) -> bytes:
    if connection.sock is not None:  # None once the server has said that this is its last answer
        connection.sock.settimeout(_remaining(deadline))
    return answer.readline()


@contextmanager
def _opened(
    config: ClientConfig, target: str, deadline: float
) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
    """A good answer to a GET; other answers and no answer are raised as kubeapi's errors."""
    server = urlsplit(config.server)
    connection = http.client.HTTPSConnection(
        server.hostname or "",
        server.port,
        timeout=_remaining(deadline),
        context=build_tls_context(config),
    )
    try:
        connection.request("GET", target, headers={"Accept": "application/json", "User-Agent": "berth-lab"})
        answer = connection.getresponse()
        if answer.status >= 300:
            raise build_error(answer.status, dict(answer.headers), answer.read())
        yield connection, answer
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{config.server} doesn't answer: {error}") from error
    finally:
        connection.close()


def _remaining(deadline: float) -> float:
    return max(deadline - time.monotonic(), _MINIMUM_SECONDS)
