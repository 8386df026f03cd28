"""/exec, /attach and /portForward: asks the runtime where the stream is and relays the client there.

IO: one CRI call, then `kubeapi.upgrade.relay`. Called by `application`. Options have the names that
upstream's API server sends to a kubelet (input, output, error, tty, command), and those of the pod's
subresources (stdin, stdout, stderr).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypedDict
from urllib.parse import urlsplit

from aiohttp import web
from multidict import MultiMapping

from agent.pods.ports import ContainerHandle, ContainerID, PodDirectory, SandboxID
from agent.runtime.errors import RuntimeNotFound, RuntimeServiceError
from kubeapi.meta import ObjectKey
from kubeapi.upgrade.backend import UpgradeTarget
from kubeapi.upgrade.messages import UpgradeFailed
from kubeapi.upgrade.relay import UpgradeRelays

_log = logging.getLogger(__name__)

_EXIT_LOOK_SECONDS: Final = 0.5


class StreamingRuntime(Protocol):
    """The part of CRI that opens streams: each answers a URL. Raises RuntimeServiceError."""

    async def open_exec(
        self,
        container_id: ContainerID,
        command: tuple[str, ...],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str: ...

    async def open_attach(
        self, container_id: ContainerID, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str: ...

    async def open_port_forward(self, sandbox_id: SandboxID, ports: tuple[int, ...]) -> str: ...


@dataclass(frozen=True, slots=True)
class StreamOptions:
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


class BadStreamOption(Exception):
    """One sentence that says what is missing or wrong."""


def parse_stream_options(query: Mapping[str, str]) -> StreamOptions:
    """Which streams are wanted; a terminal has no separate stderr. Raises BadStreamOption. Pure."""
    tty = _is_set(query, "tty")
    options = StreamOptions(
        stdin=_is_set(query, "input", "stdin"),
        stdout=_is_set(query, "output", "stdout"),
        stderr=_is_set(query, "error", "stderr") and not tty,
        tty=tty,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise BadStreamOption("you must specify at least 1 of stdin, stdout, stderr")
    return options


def parse_ports(query: MultiMapping[str]) -> tuple[int, ...]:
    """The ports named in the query, none for SPDY, which names them on its streams. Raises BadStreamOption.
    Pure.
    """
    ports = []
    for text in ",".join(query.getall("port", query.getall("ports", []))).split(","):
        if not text:
            continue
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise BadStreamOption(f"port {text!r} is not between 1 and 65535")
        ports.append(int(text))
    return tuple(ports)


def parse_stream_url(url: str) -> UpgradeTarget:
    """Where the runtime's streaming server is and what to ask it for. Raises UpgradeFailed. Pure."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise UpgradeFailed(str(error)) from error
    if parts.scheme != "http" or not parts.hostname:
        raise UpgradeFailed("only URLs that start with http:// and name a host are known here")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return UpgradeTarget(parts.hostname, port, target)


class Streaming:
    def __init__(self, directory: PodDirectory, runtime: StreamingRuntime) -> None:
        self._directory = directory
        self._runtime = runtime
        self._relays = UpgradeRelays()

    async def serve_exec(self, request: web.Request) -> web.StreamResponse:
        options, handle = _parse(request), self._find_running(request)
        command = tuple(request.query.getall("command", []))
        if not command:
            raise web.HTTPBadRequest(text="you must specify a command")
        opening = self._runtime.open_exec(handle.container_id, command, **_as_flags(options))
        return await self._relay(request, opening)

    async def serve_attach(self, request: web.Request) -> web.StreamResponse:
        options, handle = _parse(request), self._find_running(request)
        opening = self._runtime.open_attach(handle.container_id, **_as_flags(options))
        # containerd never ends a stream that it attaches to a container in the moment of its exit.
        exited = asyncio.ensure_future(self._wait_for_exit(request, handle))
        try:
            return await self._relay(request, opening, exited)
        finally:
            exited.cancel()

    async def _wait_for_exit(self, request: web.Request, handle: ContainerHandle) -> None:
        key = ObjectKey(request.match_info["namespace"], request.match_info["pod"])
        container = request.match_info["container"]
        while True:
            found = self._directory.find_container(key, handle.pod.uid, container, False)
            if found is None or found.container_id != handle.container_id or not found.running:
                return
            await asyncio.sleep(_EXIT_LOOK_SECONDS)

    async def serve_port_forward(self, request: web.Request) -> web.StreamResponse:
        try:
            ports = parse_ports(request.query)
        except BadStreamOption as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        handle = self._find(request)
        return await self._relay(request, self._runtime.open_port_forward(handle.sandbox_id, ports))

    def _find_running(self, request: web.Request) -> ContainerHandle:
        handle = self._find(request)
        if not handle.running:
            names = request.match_info
            what = f"container {names['container']!r} of pod {names['pod']!r}"
            raise web.HTTPBadRequest(text=f"{what} isn't running")
        return handle

    def _find(self, request: web.Request) -> ContainerHandle:
        names = request.match_info
        key = ObjectKey(names["namespace"], names["pod"])
        container = names.get("container", "")
        handle = self._directory.find_container(key, names.get("uid", ""), container, False)
        if handle is None:
            what = f"container {container!r} of pod {key.name!r}" if container else f"pod {key.name!r}"
            raise web.HTTPNotFound(text=f"{what} isn't on this node, or hasn't been created yet")
        return handle

    async def _relay(
        self,
        request: web.Request,
        opening: Awaitable[str],
        until: asyncio.Future[None] | None = None,
    ) -> web.StreamResponse:
        try:
            url = await opening
        except RuntimeNotFound as error:
            raise web.HTTPNotFound(text=str(error)) from error
        except RuntimeServiceError as error:
            raise web.HTTPInternalServerError(text=str(error)) from error
        where = "an unreadable URL"
        try:
            target = parse_stream_url(url)
            where = target.authority
            return await self._relays.answer(request, target, until=until)
        except UpgradeFailed as error:
            # The URL itself opens the stream, hence is a secret.
            why = f"the runtime's streaming server at {where}: {error}"
            _log.warning("a stream could not be relayed", extra={"path": request.path, "why": why})
            raise web.HTTPBadGateway(text=why) from error


def _parse(request: web.Request) -> StreamOptions:
    try:
        return parse_stream_options(request.query)
    except BadStreamOption as error:
        raise web.HTTPBadRequest(text=str(error)) from error


class _Flags(TypedDict):
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


def _as_flags(options: StreamOptions) -> _Flags:
    return _Flags(tty=options.tty, stdin=options.stdin, stdout=options.stdout, stderr=options.stderr)


def _is_set(query: Mapping[str, str], *names: str) -> bool:
    return any(query.get(name, "").lower() in ("1", "true") for name in names)
