"""A Kubernetes API server in memory, on a real socket: lists, watches, writes, and the faults one asks it
for.

It obeys the semantics that clients rely on: one growing resource version, optimistic concurrency, label and
field selectors, pages with continue tokens, watches that replay from a version, bookmarks, 410 once history
is forgotten. Requests are recorded. `fail_next` answers the next matching requests with an error;
`drop_watches` cuts every stream.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from kubeapi.selectors import matches_fields, parse_field_selector, parse_label_selector
from kubeapi.status import Reason, build_failure, build_success, encode_status

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"


@dataclass(slots=True)
class _Failpoint:
    matches: Callable[[RecordedRequest], bool]
    reason: Reason
    code: int
    remaining: int
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class _LogEntry:
    revision: int
    type: str
    collection: str
    document: Document
    previous: Document | None


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path addresses: `collection` is group/version/plural."""

    collection: str
    namespace: str
    name: str
    subresource: str


@dataclass(slots=True)
class FakeApi:
    """The server's state; start it with `serve`."""

    revision: int = 1000
    forgotten_before: int = 0
    ends_watches_at_once: bool = False
    requests: list[RecordedRequest] = field(default_factory=list)
    peer_names: list[str] = field(default_factory=list)
    url: str = ""
    _objects: dict[tuple[str, str, str], Document] = field(default_factory=dict)
    _log: list[_LogEntry] = field(default_factory=list)
    _failpoints: list[_Failpoint] = field(default_factory=list)
    _wake: set[asyncio.Event] = field(default_factory=set)
    _cut: set[asyncio.Event] = field(default_factory=set)
    _pages: dict[str, tuple[int, list[Document]]] = field(default_factory=dict)

    # --- what a test does -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """The server's URL, while it listens on a free port of 127.0.0.1."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"{'https' if tls else 'http'}://{host}:{port}"
            yield self.url
        finally:
            self.drop_watches()
            await runner.cleanup()

    def put(self, collection: str, document: Mapping[str, Any]) -> Document:
        """Creates or replaces an object as somebody else would; `collection` such as `v1/pods`."""
        stored = copy.deepcopy(dict(document))
        metadata = stored.setdefault("metadata", {})
        key = (collection, metadata.get("namespace", ""), metadata["name"])
        previous = self._objects.get(key)
        metadata.setdefault("uid", previous["metadata"]["uid"] if previous else str(uuid.uuid4()))
        self._store(key, "MODIFIED" if previous else "ADDED", stored, previous)
        return copy.deepcopy(stored)

    def remove(self, collection: str, name: str, namespace: str = "") -> None:
        key = (collection, namespace, name)
        previous = self._objects[key]
        self._store(key, "DELETED", copy.deepcopy(previous), previous)

    def read(self, collection: str, name: str, namespace: str = "") -> Document | None:
        document = self._objects.get((collection, namespace, name))
        return copy.deepcopy(document)

    def documents(self, collection: str) -> list[Document]:
        return [copy.deepcopy(each) for key, each in self._objects.items() if key[0] == collection]

    def forget_history(self) -> None:
        """From now on watches and pages of older versions are answered with 410."""
        self.revision += 1
        self.forgotten_before = self.revision
        self._log.clear()
        self._pages.clear()

    def drop_watches(self) -> None:
        for cut in tuple(self._cut):
            cut.set()

    def send_bookmarks(self) -> None:
        """Advances the version and tells every watch so."""
        self.revision += 1
        self._log.append(_LogEntry(self.revision, "BOOKMARK", "", {}, None))
        self._wake_watches()

    def fail_next(
        self,
        reason: Reason,
        code: int,
        *,
        times: int = 1,
        retry_after: str = "",
        matches: Callable[[RecordedRequest], bool] = lambda _request: True,
    ) -> None:
        self._failpoints.append(_Failpoint(matches, reason, code, times, retry_after))

    def watch_count(self) -> int:
        return len(self._cut)

    # --- answering ------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        recorded = RecordedRequest(
            request.method, request.path, dict(request.query), dict(request.headers), await request.read()
        )
        self.requests.append(recorded)
        self.peer_names.append(_peer_name(request))
        failpoint = self._take_failpoint(recorded)
        if failpoint is not None:
            answer = _refuse(failpoint.reason, "asked to fail", failpoint.code)
            if failpoint.retry_after:
                answer.headers["Retry-After"] = failpoint.retry_after
            return answer
        target = _read_path(request.path)
        if target is None:
            return _refuse(Reason.NOT_FOUND, "the server could not find the requested resource", 404)
        if recorded.is_watch:
            return await self._watch(request, target)
        match request.method:
            case "GET":
                return self._get(target) if target.name else self._list(target, request.query)
            case "POST":
                return self._create(target, msgspec.json.decode(recorded.body))
            case "PUT":
                return self._update(target, msgspec.json.decode(recorded.body))
            case "PATCH":
                return self._patch(target, recorded)
            case "DELETE":
                return self._delete(target, recorded.body)
            case _:
                return _refuse(Reason.METHOD_NOT_ALLOWED, "the method is not allowed", 405)

    def _take_failpoint(self, recorded: RecordedRequest) -> _Failpoint | None:
        for failpoint in self._failpoints:
            if failpoint.remaining > 0 and failpoint.matches(recorded):
                failpoint.remaining -= 1
                return failpoint
        return None

    def _get(self, target: _Target) -> web.Response:
        document = self._objects.get((target.collection, target.namespace, target.name))
        return _not_found(target) if document is None else _json(document)

    def _list(self, target: _Target, query: Mapping[str, str]) -> web.Response:
        if token := query.get("continue", ""):
            page = self._pages.pop(token, None)
            if page is None:
                return _refuse(Reason.EXPIRED, "The provided continue parameter is too old", 410)
            revision, rest = page
        else:
            revision = self.revision
            rest = [
                each
                for key, each in sorted(self._objects.items())
                if key[0] == target.collection and target.namespace in ("", key[1]) and _selects(query, each)
            ]
        limit = int(query.get("limit", "0")) or len(rest)
        metadata: Document = {"resourceVersion": str(revision)}
        if len(rest) > limit:
            token = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()
            self._pages[token] = (revision, rest[limit:])
            metadata["continue"] = token
        # As the upstream server does: the items of a list don't repeat their kind.
        items = [
            {name: value for name, value in each.items() if name not in ("kind", "apiVersion")}
            for each in rest[:limit]
        ]
        return _json({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})

    def _create(self, target: _Target, document: Document) -> web.Response:
        if target.subresource == "binding":
            return self._bind(target, document)
        metadata = document.setdefault("metadata", {})
        if target.namespace:
            metadata["namespace"] = target.namespace
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        key = (target.collection, target.namespace, metadata.get("name", ""))
        if key in self._objects:
            message = f'{target.collection.rpartition("/")[2]} "{key[2]}" already exists'
            return _refuse(Reason.ALREADY_EXISTS, message, 409)
        metadata["uid"] = str(uuid.uuid4())
        self._store(key, "ADDED", document, None)
        return _json(document, 201)

    def _bind(self, target: _Target, document: Document) -> web.Response:
        pod = self.read(target.collection, target.name, target.namespace)
        if pod is None:
            return _not_found(target)
        pod.setdefault("spec", {})["nodeName"] = document["target"]["name"]
        self.put(target.collection, pod)
        return _status(encode_status(build_success(code=201)), 201)

    def _update(self, target: _Target, document: Document) -> web.Response:
        key = (target.collection, target.namespace, target.name)
        previous = self._objects.get(key)
        if previous is None:
            return _not_found(target)
        version = document.get("metadata", {}).get("resourceVersion", "")
        if version and version != previous["metadata"]["resourceVersion"]:
            return _refuse(Reason.CONFLICT, "the object has been modified", 409)
        document["metadata"]["uid"] = previous["metadata"]["uid"]
        self._store(key, "MODIFIED", document, previous)
        return _json(document)

    def _patch(self, target: _Target, recorded: RecordedRequest) -> web.Response:
        """Every kind of patch is applied as a merge patch, which is what the tests of clients send."""
        key = (target.collection, target.namespace, target.name)
        previous = self._objects.get(key)
        if previous is None:
            return _not_found(target)
        patch = msgspec.json.decode(recorded.body)
        version = patch.get("metadata", {}).get("resourceVersion", "")
        if version and version != previous["metadata"]["resourceVersion"]:
            return _refuse(Reason.CONFLICT, "the object has been modified", 409)
        document = _merge(copy.deepcopy(previous), patch)
        self._store(key, "MODIFIED", document, previous)
        return _json(document)

    def _delete(self, target: _Target, body: bytes) -> web.Response:
        key = (target.collection, target.namespace, target.name)
        previous = self._objects.get(key)
        if previous is None:
            return _not_found(target)
        wanted = (msgspec.json.decode(body) if body else {}).get("preconditions", {})
        for name in ("uid", "resourceVersion"):
            if name in wanted and wanted[name] != previous["metadata"][name]:
                return _refuse(Reason.CONFLICT, f"the {name} in the precondition does not match", 409)
        self._store(key, "DELETED", copy.deepcopy(previous), previous)
        return _status(encode_status(build_success()), 200)

    def _store(
        self, key: tuple[str, str, str], type_: str, document: Document, previous: Document | None
    ) -> None:
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        if type_ == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = document
        logged = copy.deepcopy(document)
        self._log.append(_LogEntry(self.revision, type_, key[0], logged, previous))
        self._wake_watches()

    # --- watching -------------------------------------------------------------------------------------------

    def _wake_watches(self) -> None:
        for wake in self._wake:
            wake.set()

    async def _watch(self, request: web.Request, target: _Target) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or self.revision)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        wake, cut = asyncio.Event(), asyncio.Event()
        self._wake.add(wake)
        self._cut.add(cut)
        try:
            await response.prepare(request)
            if since < self.forgotten_before:
                await response.write(_expired_event())
                return response
            await self._send_events(response, request, target, since, wake, cut)
        finally:
            self._wake.discard(wake)
            self._cut.discard(cut)
        return response

    async def _send_events(
        self,
        response: web.StreamResponse,
        request: web.Request,
        target: _Target,
        since: int,
        wake: asyncio.Event,
        cut: asyncio.Event,
    ) -> None:
        end = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", "300"))
        cut_task = asyncio.ensure_future(cut.wait())
        try:
            while True:
                wake.clear()
                for entry in [each for each in self._log if each.revision > since]:
                    since = entry.revision
                    event = _event_for(entry, target, request.query)
                    if event is not None:
                        await response.write(msgspec.json.encode(event) + b"\n")
                if self.ends_watches_at_once:
                    return
                wake_task = asyncio.ensure_future(wake.wait())
                remaining = end - asyncio.get_running_loop().time()
                done, _ = await asyncio.wait(
                    {cut_task, wake_task}, timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED
                )
                wake_task.cancel()
                if not done:
                    return
                if cut_task in done:
                    if request.transport is not None:
                        request.transport.abort()
                    return
        finally:
            cut_task.cancel()


# --- pure parts ---------------------------------------------------------------------------------------------


def _read_path(path: str) -> _Target | None:
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            group_version = version
        case ["apis", group, version, *rest]:
            group_version = f"{group}/{version}"
        case _:
            return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return _Target(f"{group_version}/{plural}", namespace, name, subresource)


def _event_for(entry: _LogEntry, target: _Target, query: Mapping[str, str]) -> Document | None:
    """As this watch sees it: an object that begins or ceases to be selected is added or deleted."""
    if entry.type == "BOOKMARK":
        return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(entry.revision)}}}
    if entry.collection != target.collection:
        return None
    if target.namespace not in ("", entry.document["metadata"].get("namespace", "")):
        return None
    before = entry.previous is not None and _selects(query, entry.previous)
    after = entry.type != "DELETED" and _selects(query, entry.document)
    match before, after:
        case False, False:
            return None
        case False, True:
            return {"type": "ADDED", "object": entry.document}
        case True, True:
            return {"type": "MODIFIED", "object": entry.document}
        case _:
            return {"type": "DELETED", "object": entry.document}


def _selects(query: Mapping[str, str], document: Document) -> bool:
    labels = document["metadata"].get("labels", {})
    if not parse_label_selector(query.get("labelSelector", "")).matches(labels):
        return False
    requirements = parse_field_selector(query.get("fieldSelector", ""))
    return matches_fields(requirements, {each.path: _field(document, each.path) for each in requirements})


def _field(document: Document, path: str) -> str:
    value: Any = document
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    return str(value)


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _expired_event() -> bytes:
    status = build_failure(Reason.EXPIRED, "too old resource version", code=410)
    return b'{"type":"ERROR","object":' + encode_status(status) + b"}\n"


def _json(document: Document, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")


def _status(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _refuse(reason: Reason, message: str, code: int) -> web.Response:
    return _status(encode_status(build_failure(reason, message, code=code)), code)


def _not_found(target: _Target) -> web.Response:
    plural = target.collection.rpartition("/")[2]
    return _refuse(Reason.NOT_FOUND, f'{plural} "{target.name}" not found', 404)


def _peer_name(request: web.Request) -> str:
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    for attribute in (certificate or {}).get("subject", ()):
        for name, value in attribute:
            if name == "commonName":
                return str(value)
    return ""
