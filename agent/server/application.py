"""The routes of the node's HTTPS server, and who may use them.

IO: answers requests. Called by `listeners`. Paths are upstream's: /healthz, /pods, /runningpods/,
/containerLogs, /exec, /attach, /portForward. Every path needs a client certificate (401 without) and the
right to it (403).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agent.pods.ports import PodDirectory
from agent.server.authentication import Authorizer, compute_access, parse_identity
from agent.server.logs import ContainerLogs
from agent.server.streaming import Streaming
from kubeapi.pod import Pod

_STREAMS: Final = ("GET", "POST")


def build_application(
    directory: PodDirectory,
    logs: ContainerLogs,
    streaming: Streaming,
    authorizer: Authorizer,
    find_trouble: Callable[[], str],
) -> web.Application:
    """The application; `find_trouble` answers what is wrong with the agent, empty when nothing is."""
    application = web.Application(middlewares=[_build_guard(authorizer)])
    router = application.router
    router.add_get("/healthz", _build_healthz(find_trouble))
    router.add_get("/pods", _build_pods(directory))
    router.add_get("/runningpods/", _build_running_pods(directory))
    router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs.serve)
    for method in _STREAMS:
        for path, serve in (("exec", streaming.serve_exec), ("attach", streaming.serve_attach)):
            router.add_route(method, f"/{path}/{{namespace}}/{{pod}}/{{container}}", serve)
            router.add_route(method, f"/{path}/{{namespace}}/{{pod}}/{{uid}}/{{container}}", serve)
        router.add_route(method, "/portForward/{namespace}/{pod}", streaming.serve_port_forward)
        router.add_route(method, "/portForward/{namespace}/{pod}/{uid}", streaming.serve_port_forward)
    return application


def build_healthz_application(find_trouble: Callable[[], str]) -> web.Application:
    """The plain one for loopback, which needs no right."""
    application = web.Application()
    application.router.add_get("/healthz", _build_healthz(find_trouble))
    return application


def encode_pods(pods: tuple[Pod, ...]) -> bytes:
    """A PodList of what the agent knows of its pods."""
    return msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})


def _build_guard(authorizer: Authorizer) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        identity = parse_identity(transport.get_extra_info("peercert") if transport is not None else None)
        if identity is None:
            return web.Response(status=401, text="Unauthorized")
        access = compute_access(request.method, request.path)
        if not await authorizer.is_allowed(identity, access):
            detail = (
                f"user={identity.user}, verb={access.verb}, resource=nodes, subresource={access.subresource}"
            )
            return web.Response(status=403, text=f"Forbidden ({detail})")
        return await handler(request)

    return guard


def _build_healthz(find_trouble: Callable[[], str]) -> Handler:
    async def serve_healthz(_: web.Request) -> web.Response:
        trouble = find_trouble()
        return web.Response(status=500, text=trouble) if trouble else web.Response(text="ok")

    return serve_healthz


def _build_pods(directory: PodDirectory) -> Handler:
    async def serve_pods(_: web.Request) -> web.Response:
        return web.Response(body=encode_pods(directory.pods()), content_type="application/json")

    return serve_pods


def _build_running_pods(directory: PodDirectory) -> Handler:
    async def serve_running_pods(_: web.Request) -> web.Response:
        running = {entry.uid for entry in directory.running_pods()}
        pods = tuple(pod for pod in directory.pods() if pod.uid in running)
        return web.Response(body=encode_pods(pods), content_type="application/json")

    return serve_running_pods
