"""The HTTP client of the Kubernetes API: every verb, typed, each call with a deadline.

Does IO, through aiohttp. Used by informers, the agent, the scheduler, the controllers and the command line.
Foreign errors are mapped here and nowhere else: no usable answer is `Unreachable`, a refusal is
`ApiStatusError`. It doesn't retry; who calls decides that. Follows the "Kubernetes API Concepts" page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from kubeapi.codec import Body, ObjectList, decode_list, decode_object, decoder_for, encode_body
from kubeapi.connector import Connector
from kubeapi.credentials import BearerToken
from kubeapi.errors import ApiStatusError
from kubeapi.kubeconfig import ClientConfig
from kubeapi.resources import Resource, ViewT
from kubeapi.tls import build_tls_context, limit_tls_buffers
from kubeapi.transport import build_error, mapped_errors
from kubeapi.watch_stream import LineSplitter, WatchEvent, parse_watch_event

__all__ = ["Body", "Client", "ObjectList", "PatchType", "Response", "WatchEvent"]

DEFAULT_DEADLINE_SECONDS: Final = 30.0
DEFAULT_WATCH_SECONDS: Final = 300
LIST_PAGE_SIZE: Final = 500
_CONNECT_SECONDS: Final = 10.0
_WATCH_GRACE_SECONDS: Final = 15.0
_KEEP_IDLE_CONNECTION_SECONDS: Final = 25.0

Query = Iterable[tuple[str, str]]


class PatchType(StrEnum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Client:
    """A client of one API server; opens nothing before `async with`."""

    def __init__(self, config: ClientConfig, *, user_agent: str) -> None:
        self._config = config
        self._user_agent = user_agent
        self._token = BearerToken(config)
        self._session: aiohttp.ClientSession | None = None

    @property
    def server(self) -> str:
        return self._config.server

    @property
    def config(self) -> ClientConfig:
        return self._config

    async def __aenter__(self) -> Client:
        tls = build_tls_context(self._config)
        limit_tls_buffers()
        self._session = aiohttp.ClientSession(
            connector=Connector(tls=tls, keep_idle_seconds=_KEEP_IDLE_CONNECTION_SECONDS),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=None, connect=_CONNECT_SECONDS, sock_connect=_CONNECT_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(
        self,
        resource: Resource[ViewT],
        name: str,
        namespace: str = "",
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ViewT:
        response = await self.request(
            "GET", resource.path(namespace, name), deadline_seconds=deadline_seconds
        )
        return decode_object(resource, response.body)

    async def list(
        self,
        resource: Resource[ViewT],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = LIST_PAGE_SIZE,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ObjectList[ViewT]:
        """All objects, in pages of `limit` that are followed to the end (0: one answer holds everything).

        The deadline is each page's own. When the server forgot the pages' snapshot meanwhile, everything is
        asked for again in one answer.
        """
        query = _drop_empty(
            ("labelSelector", label_selector),
            ("fieldSelector", field_selector),
            ("resourceVersion", resource_version),
        )
        path = resource.path(namespace)
        try:
            return await self._list_pages(resource, path, query, limit, deadline_seconds)
        except ApiStatusError as error:
            if not (error.is_gone and limit):
                raise
            return await self._list_pages(resource, path, query, 0, deadline_seconds)

    async def create(
        self,
        resource: Resource[ViewT],
        body: Body,
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ViewT:
        """The object as stored; where the server answers with a mere Success (bindings), an empty view."""
        return await self._write(
            "POST", resource, body, resource.path(namespace, name, subresource), deadline_seconds
        )

    async def update(
        self,
        resource: Resource[ViewT],
        body: Body,
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ViewT:
        return await self._write(
            "PUT", resource, body, resource.path(namespace, name, subresource), deadline_seconds
        )

    async def patch(
        self,
        resource: Resource[ViewT],
        body: Body,
        name: str,
        namespace: str = "",
        *,
        patch_type: PatchType,
        subresource: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> ViewT:
        response = await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=body if isinstance(body, bytes) else msgspec.json.encode(body),
            content_type=patch_type.value,
            deadline_seconds=deadline_seconds,
        )
        return decode_object(resource, response.body)

    async def delete(
        self,
        resource: Resource[ViewT],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> None:
        """Asks for deletion; `uid` and `resource_version` are preconditions (a conflict when they don't
        hold).
        """
        options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = dict(_drop_empty(("uid", uid), ("resourceVersion", resource_version)))
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        await self.request(
            "DELETE",
            resource.path(namespace, name),
            body=msgspec.json.encode(options),
            content_type="application/json",
            deadline_seconds=deadline_seconds,
        )

    async def watch(
        self,
        resource: Resource[ViewT],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = DEFAULT_WATCH_SECONDS,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> AsyncGenerator[WatchEvent[ViewT], None]:
        """Changes after `resource_version`, with bookmarks, until the server ends the stream in good order.

        The server is asked to end it after `timeout_seconds`; `deadline_seconds` is for the answer to begin.
        An ERROR event is raised as ApiStatusError; 410 means: list again. Close it (`contextlib.aclosing`)
        when leaving early.
        """
        query = _drop_empty(
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("labelSelector", label_selector),
            ("fieldSelector", field_selector),
            ("timeoutSeconds", str(timeout_seconds)),
        )
        decoder, lines = decoder_for(resource.view), LineSplitter()
        path = resource.path(namespace)
        end = asyncio.get_running_loop().time() + timeout_seconds + _WATCH_GRACE_SECONDS
        async with self._stream("GET", path, query=query, deadline_seconds=deadline_seconds) as answer:
            while chunk := await self._read_chunk(answer, f"watch {path}", end):
                for line in lines.feed(chunk):
                    yield parse_watch_event(line, decoder)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes = b"",
        content_type: str = "",
        accept: str = "",
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    ) -> Response:
        """One request and its whole answer; raises ApiStatusError for a code of 400 or more, Unreachable for
        none.
        """
        with mapped_errors(self._config.server, f"{method} {path}"):
            async with asyncio.timeout(deadline_seconds):
                answer = await self._send(method, path, query, body, content_type, accept)
                async with answer:
                    content = await answer.read()
        if answer.status >= 300:
            raise build_error(answer.status, answer.headers, content)
        return Response(answer.status, dict(answer.headers), content)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's body as it comes, such as a log that is followed; the deadline is for it to begin."""
        async with self._stream(method, path, query=query, deadline_seconds=deadline_seconds) as answer:
            yield self._chunks(answer, f"{method} {path}")

    async def _chunks(self, answer: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
        while chunk := await self._read_chunk(answer, what, None):
            yield chunk

    async def _read_chunk(self, answer: aiohttp.ClientResponse, what: str, end: float | None) -> bytes:
        """What came since, empty at the end; `end` is a loop time. The timeout must not span a `yield`."""
        with mapped_errors(self._config.server, what):
            async with asyncio.timeout_at(end):
                return await answer.content.readany()

    async def _list_pages(
        self, resource: Resource[ViewT], path: str, query: Query, limit: int, deadline_seconds: float
    ) -> ObjectList[ViewT]:
        items: list[ViewT] = []
        page_query = [*query, *_drop_empty(("limit", str(limit) if limit else ""))]
        while True:
            response = await self.request("GET", path, query=page_query, deadline_seconds=deadline_seconds)
            page = decode_list(resource, response.body)
            items += page.items
            if not page.metadata.continue_:
                return ObjectList(metadata=page.metadata, items=tuple(items))
            # A continue token names its snapshot itself, so the resource version must not be sent again.
            page_query = [pair for pair in page_query if pair[0] not in ("continue", "resourceVersion")]
            page_query.append(("continue", page.metadata.continue_))

    async def _write(
        self, method: str, resource: Resource[ViewT], body: Body, path: str, deadline_seconds: float
    ) -> ViewT:
        response = await self.request(
            method,
            path,
            body=encode_body(resource, body),
            content_type="application/json",
            deadline_seconds=deadline_seconds,
        )
        return decode_object(resource, response.body)

    @asynccontextmanager
    async def _stream(
        self, method: str, path: str, *, query: Query, deadline_seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An open answer whose status is good; a bad one is read whole and raised."""
        with mapped_errors(self._config.server, f"{method} {path}"):
            async with asyncio.timeout(deadline_seconds):
                answer = await self._send(method, path, query, b"", "", "")
                if answer.status >= 300:
                    async with answer:
                        content = await answer.read()
                    raise build_error(answer.status, answer.headers, content)
        try:
            yield answer
        finally:
            # Not released to the pool: an unfinished stream would be read to its end there. Nor closed in
            # good order, which for TLS means to wait for the peer, who may be busy sending, or gone.
            if answer.connection is not None and answer.connection.protocol is not None:
                answer.connection.protocol.abort()
            answer.close()

    async def _send(
        self, method: str, path: str, query: Query, body: bytes, content_type: str, accept: str
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open; use it within 'async with'")
        headers = self._token.headers()
        if content_type:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        return await self._session.request(
            method,
            URL(self._config.server + path),
            params=list(query) or None,
            data=body or None,
            headers=headers,
            allow_redirects=False,
            server_hostname=self._config.tls_server_name or None,
        )


def _drop_empty(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in pairs if pair[1])
