"""The HTTP face of the API server: from a request to the part that answers it, and every failure to a Status.

IO with aiohttp. One entry (`dispatch`) for all paths: identify the client, parse the path, authorize,
negotiate, hand over. Discovery, version, health and OpenAPI are answered here from bytes built once.
Started by `controlplane.app`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from controlplane.apiserver.authentication import User, read_user
from controlplane.apiserver.authorization import (
    explain_refusal,
    is_allowed,
    is_path_allowed,
    is_public_path,
)
from controlplane.apiserver.documents import MAXIMUM_BODY_BYTES
from controlplane.apiserver.failures import (
    ApiFailure,
    body_too_large,
    forbidden,
    forbidden_path,
    internal_error,
    method_not_allowed,
    not_acceptable,
    path_not_found,
    too_many_requests,
    unauthorized,
)
from controlplane.apiserver.negotiation import OBJECT_MEDIA_TYPES, Format, choose_format
from controlplane.apiserver.node_requests import NodeRequests
from controlplane.apiserver.object_requests import Answer, ObjectRequest, ObjectRequests
from controlplane.apiserver.request_path import ResourceRequest, parse_resource_request
from controlplane.apiserver.static_documents import StaticDocuments
from controlplane.apiserver.watch_requests import WatchRequests
from controlplane.storage.errors import StorageBusyError, StorageError
from kubeapi.status import encode_status

logger = logging.getLogger(__name__)

_NODE_SUBRESOURCES: Final = frozenset({"log", "exec", "attach", "portforward"})
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class HttpServer:
    """Routes requests; `is_ready` decides what /readyz says."""

    def __init__(
        self,
        objects: ObjectRequests,
        watches: WatchRequests,
        nodes: NodeRequests,
        documents: StaticDocuments,
        is_ready: Callable[[], bool],
    ) -> None:
        self._objects = objects
        self._watches = watches
        self._nodes = nodes
        self._documents = documents
        self._is_ready = is_ready

    def build_application(self) -> web.Application:
        application = web.Application(client_max_size=MAXIMUM_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self.dispatch)
        return application

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        """Answer any request; nothing but cancellation and a lost connection gets out."""
        try:
            return await self._answer(request)
        except ApiFailure as failure:
            return _build_failure_response(failure)
        except StorageBusyError as error:
            return _build_failure_response(too_many_requests(str(error)))
        except StorageError as error:
            logger.error("storage failed", extra={"path": request.path, "error": str(error)})
            return _build_failure_response(internal_error(str(error)))
        except web.HTTPRequestEntityTooLarge:
            return _build_failure_response(body_too_large(MAXIMUM_BODY_BYTES))
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            # The supervisor of requests: a failure must not be silent, nor show its inside to the client.
            logger.exception("request failed", extra={"method": request.method, "path": request.path})
            return _build_failure_response(internal_error("the server has logged what went wrong"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = identify(request)
        if user.is_anonymous and not is_public_path(request.path):
            raise unauthorized()
        target = parse_resource_request(request.method, request.path, request.query)
        if target is None:
            return self._answer_path(request, user)
        if not is_allowed(user, target):
            raise forbidden(target.kind, target.name, explain_refusal(user, target))
        if target.subresource in _NODE_SUBRESOURCES:
            return await self._nodes.answer(request, target)
        answer = choose_format(request.headers.get("Accept", ""))
        if answer is None:
            raise not_acceptable(OBJECT_MEDIA_TYPES)
        if target.verb == "watch":
            return await self._watches.answer(request, target, answer)
        return await self._answer_objects(request, user, target, answer)

    async def _answer_objects(
        self, request: web.Request, user: User, target: ResourceRequest, answer: Format
    ) -> web.StreamResponse:
        body = await request.read() if request.method in _BODY_METHODS else b""
        content_type = request.headers.get("Content-Type", "")
        asked = ObjectRequest(target, request.query, answer, body, content_type, user)
        result = await self._objects.answer(asked)
        return _build_response(result, answer.media_type)

    def _answer_path(self, request: web.Request, user: User) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if not is_path_allowed(user, path):
            raise forbidden_path(user.name, request.method.lower(), request.path)
        if path in ("/healthz", "/livez", "/readyz") or path.startswith(("/healthz/", "/livez/", "/readyz/")):
            return self._answer_health(path)
        found = self._documents.find(path, request.headers.get("Accept", ""))
        if found is None:
            raise path_not_found()
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        if found.etag and request.headers.get("If-None-Match") == found.etag:
            return web.Response(status=304, headers={"ETag": found.etag})
        headers = {"Content-Type": found.media_type, "Vary": "Accept"}
        if found.etag:
            headers["ETag"] = found.etag
        return web.Response(body=found.body, headers=headers)

    def _answer_health(self, path: str) -> web.Response:
        if path.startswith("/readyz") and not self._is_ready():
            return web.Response(status=503, text="not ready: the server is starting or stopping\n")
        return web.Response(text="ok")


def identify(request: web.Request) -> User:
    """The user behind the request's connection."""
    transport = request.transport
    return read_user(transport.get_extra_info("peercert") if transport is not None else None)


def _build_response(answer: Answer, media_type: str) -> web.Response:
    response = web.Response(body=answer.body, status=answer.status, headers={"Content-Type": media_type})
    for warning in answer.warnings:
        response.headers.add("Warning", build_warning(warning))
    response.headers["Cache-Control"] = "no-cache, private"
    return response


def build_warning(text: str) -> str:
    """A Warning header's value: kubectl shows the quoted text to its user."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def _build_failure_response(failure: ApiFailure) -> web.Response:
    headers: Mapping[str, str] = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    details = failure.status.details
    if details is not None and details.retry_after_seconds:
        headers = {**headers, "Retry-After": str(details.retry_after_seconds)}
    return web.Response(body=encode_status(failure.status), status=failure.code, headers=headers)
