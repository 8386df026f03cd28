"""Requests that the node itself answers: a pod's log, exec, attach and port-forward.

IO. The HTTP layer has authorized them; here the pod's node is looked up and called over HTTPS with the
server's own client certificate. Nodes' serving certificates are self-signed, hence not verified, as is
upstream's default. Logs are streamed as they come, upgraded connections are relayed byte for byte.
"""

from __future__ import annotations

import logging
import ssl
from types import TracebackType
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from controlplane.apiserver.documents import Document, decode_json
from controlplane.apiserver.failures import bad_request, internal_error, node_refused
from controlplane.apiserver.kinds import NODE, POD
from controlplane.apiserver.kubelet import (
    NodeAddress,
    build_log_target,
    build_port_forward_target,
    build_stream_target,
    choose_container,
    read_node_address,
    require_host,
)
from controlplane.apiserver.registry import Registry
from controlplane.apiserver.request_path import ResourceRequest
from kubeapi.connector import Connector
from kubeapi.upgrade.backend import UpgradeTarget
from kubeapi.upgrade.messages import UpgradeFailed
from kubeapi.upgrade.relay import UpgradeRelays

logger = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 10.0
_KEEP_IDLE_CONNECTION_SECONDS: Final = 15.0
_REFUSAL_BYTES: Final = 2048


class NodeRequests:
    """Calls to nodes; opens nothing before `async with`."""

    def __init__(self, registry: Registry, tls: ssl.SSLContext | None) -> None:
        """`tls` is None for nodes that speak plain HTTP, as a stand-in in a test does."""
        self._registry = registry
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._relays = UpgradeRelays()

    async def __aenter__(self) -> NodeRequests:
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_connect=_CONNECT_SECONDS)
        connector = Connector(tls=self._tls, keep_idle_seconds=_KEEP_IDLE_CONNECTION_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close_relays()
        if self._session is not None:
            await self._session.close()

    def close_relays(self) -> None:
        self._relays.abort()

    async def answer(self, request: web.Request, wanted: ResourceRequest) -> web.StreamResponse:
        """Answer a request for one of a pod's node-side subresources."""
        pod = decode_json(self._registry.read(POD, wanted.namespace, wanted.name).body)
        if wanted.subresource == "log":
            return await self._answer_log(request, wanted, pod)
        if "upgrade" not in request.headers.get("Connection", "").lower():
            raise bad_request("Upgrade request required")
        target = _build_target(request, wanted, pod)
        return await self._answer_upgrade(request, target, self._find_address(require_host(pod)))

    def _find_address(self, node_name: str) -> NodeAddress:
        return read_node_address(decode_json(self._registry.read(NODE, "", node_name).body))

    async def _answer_log(
        self, request: web.Request, wanted: ResourceRequest, pod: Document
    ) -> web.StreamResponse:
        container = choose_container(pod, request.query.get("container", ""))
        node_name = (pod.get("spec") or {}).get("nodeName")
        if not node_name:
            return web.Response(content_type="text/plain")
        address = self._find_address(node_name)
        target = build_log_target(wanted.namespace, wanted.name, container, request.query)
        assert self._session is not None
        try:
            answer = await self._session.get(_build_url(self._tls, address, target))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise internal_error(_unreachable(address, error)) from error
        async with answer:
            if answer.status != 200:
                raise node_refused(answer.status, await _read_refusal(answer))
            return await _copy_answer(request, answer)

    async def _answer_upgrade(
        self, request: web.Request, target: str, address: NodeAddress
    ) -> web.StreamResponse:
        try:
            return await self._relays.answer(
                request, UpgradeTarget(address.host, address.port, target, self._tls)
            )
        except UpgradeFailed as error:
            raise internal_error(f"error dialing node at {address.authority}: {error}") from error


def _build_target(request: web.Request, wanted: ResourceRequest, pod: Document) -> str:
    if wanted.subresource == "portforward":
        return build_port_forward_target(wanted.namespace, wanted.name, request.query.getall("ports", []))
    container = choose_container(pod, request.query.get("container", ""))
    commands = request.query.getall("command", [])
    return build_stream_target(
        wanted.subresource, wanted.namespace, wanted.name, container, request.query, commands
    )


def _build_url(tls: ssl.SSLContext | None, address: NodeAddress, target: str) -> URL:
    scheme = "https" if tls is not None else "http"
    return URL(f"{scheme}://{address.authority}{target}", encoded=True)


async def _read_refusal(answer: aiohttp.ClientResponse) -> str:
    said = await answer.content.read(_REFUSAL_BYTES)
    return said.decode("utf-8", "replace").strip()


async def _copy_answer(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Stream the node's answer on, each piece as it comes."""
    response = web.StreamResponse(status=answer.status)
    response.headers["Content-Type"] = answer.headers.get("Content-Type", "text/plain")
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
    except aiohttp.ClientError as error:
        logger.info("node ended a log early", extra={"path": request.path, "error": str(error)})
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def _unreachable(address: NodeAddress, error: BaseException) -> str:
    why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return f"error dialing node at {address.authority}: {why}"
