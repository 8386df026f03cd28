"""The verbs on objects, but for watch: from an authorized request to the bytes of its answer.

IO through the registry, the cache and storage. Called by `http_server`; knows HTTP only as an answer's
status and warnings. The special subresources (scale, binding, eviction, finalize, status) are told apart
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

from multidict import MultiMapping

from controlplane.apiserver.authentication import ANONYMOUS, User
from controlplane.apiserver.authorization import get_node_name
from controlplane.apiserver.binding import bind_pod
from controlplane.apiserver.body_decoding import check_fields, check_identity, decode_body, decode_patch
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.deletion import DeleteOptions
from controlplane.apiserver.documents import Document, decode_json, encode_json
from controlplane.apiserver.failures import ApiFailure, method_not_allowed, not_found
from controlplane.apiserver.kinds import POD, Kind
from controlplane.apiserver.listing import ListOptions, Page, list_objects
from controlplane.apiserver.negotiation import Format
from controlplane.apiserver.registry import CachedPolicies, Half, Registry, check_types
from controlplane.apiserver.rendering import render_list, render_object
from controlplane.apiserver.request_options import (
    is_dry_run,
    read_delete_options,
    read_field_validation,
    read_number,
    read_selection,
)
from controlplane.apiserver.request_path import ResourceRequest
from controlplane.apiserver.scale import apply_scale, build_scale
from controlplane.apiserver.tokens.request import TOKEN_REQUEST, check_node_request, grant_token
from controlplane.apiserver.tokens.signer import TokenSigner
from controlplane.storage.contract import Storage
from kubeapi.status import build_details, build_success, encode_status


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """An authorized request with its body read."""

    target: ResourceRequest
    query: MultiMapping[str]
    answer: Format
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    user: User = ANONYMOUS

    @property
    def is_dry_run(self) -> bool:
        return is_dry_run(self.query.getall("dryRun", []))


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes = field(repr=False)
    status: int = 200
    warnings: tuple[str, ...] = ()


_HALVES: Final[Mapping[str, Half]] = {
    "": Half.OBJECT,
    "status": Half.STATUS,
    "finalize": Half.FINALIZE,
    "ephemeralcontainers": Half.EPHEMERAL_CONTAINERS,
    "resize": Half.RESIZE,
}


class ObjectRequests:
    """Answers requests for objects."""

    def __init__(
        self,
        registry: Registry,
        cache: WatchCache,
        storage: Storage,
        signer: TokenSigner,
        now: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._storage = storage
        self._signer = signer
        self._now = now

    async def answer(self, request: ObjectRequest) -> Answer:
        """ApiFailure for whatever is refused."""
        target = request.target
        match target.verb, target.subresource:
            case "get", "" | "status" | "ephemeralcontainers" | "resize":
                return self._get(request)
            case "get", "scale":
                return Answer(encode_json(self._read_scale(target)))
            case "list", "":
                return await self._list(request)
            case "create", "" if not target.name:
                return await self._create(request)
            case "create", "binding":
                return await self._bind(request)
            case "create", "eviction":
                return await self._evict(request)
            case "create", "token":
                return self._issue_token(request)
            case "update", "" | "status" | "finalize" | "ephemeralcontainers" | "resize":
                return await self._update(request)
            case "patch", "" | "status" | "ephemeralcontainers" | "resize":
                return await self._patch(request)
            case "update" | "patch", "scale":
                return await self._write_scale(request)
            case "delete", "":
                return await self._delete(request)
            case "deletecollection", "":
                return await self._delete_collection(request)
            case _:
                raise method_not_allowed()

    def _get(self, request: ObjectRequest) -> Answer:
        target = request.target
        cached = self._registry.read(target.kind, target.namespace, target.name)
        return self._render(request, cached.body)

    async def _list(self, request: ObjectRequest) -> Answer:
        page = await self._read_page(request)
        metadata: Document = {"resourceVersion": str(page.revision)}
        if page.continue_token:
            metadata["continue"] = page.continue_token
        if page.remaining:
            metadata["remainingItemCount"] = page.remaining
        bodies = [cached.body for cached in page.objects]
        include = request.query.get("includeObject", "Metadata")
        kind = request.target.kind
        return Answer(
            render_list(kind, bodies, metadata, request.answer, now=self._now(), include_object=include)
        )

    async def _read_page(self, request: ObjectRequest) -> Page:
        query, target = request.query, request.target
        options = ListOptions(
            selection=read_selection(target.kind, target.namespace, query),
            resource_version=query.get("resourceVersion", ""),
            resource_version_match=query.get("resourceVersionMatch", ""),
            limit=max(0, read_number(query, "limit") or 0),
            continue_token=query.get("continue", ""),
        )
        return await list_objects(self._cache, self._storage, target.kind, options)

    async def _create(self, request: ObjectRequest) -> Answer:
        target = request.target
        if target.kind.namespaced and not target.namespace:
            raise method_not_allowed()
        document, warnings = self._read_object(request)
        stored = await self._registry.create(
            target.kind, target.namespace, document, dry_run=request.is_dry_run
        )
        return self._render(request, stored, 201, warnings)

    async def _update(self, request: ObjectRequest) -> Answer:
        target = request.target
        document, warnings = self._read_object(request)
        body = await self._registry.modify(
            target.kind,
            target.namespace,
            target.name,
            lambda _: document,
            half=_HALVES[target.subresource],
            dry_run=request.is_dry_run,
        )
        return self._render(request, body, 200, warnings)

    async def _patch(self, request: ObjectRequest) -> Answer:
        target = request.target
        kind, mode = target.kind, read_field_validation(request.query)
        patch = decode_patch(request.body, request.content_type)
        warnings: tuple[str, ...] = ()

        def change(current: Document) -> Document:
            nonlocal warnings
            patched = patch.apply(kind, kind.kind, current)
            check_identity(
                patched,
                kind=kind.kind,
                api_version=kind.api_version,
                namespace=target.namespace,
                name=target.name,
            )
            if "fieldValidation" in request.query:
                warnings = check_fields(kind.kind, kind.api_version, patched, mode)
            return patched

        body = await self._registry.modify(
            kind,
            target.namespace,
            target.name,
            change,
            half=_HALVES[target.subresource],
            dry_run=request.is_dry_run,
        )
        return self._render(request, body, 200, warnings)

    def _read_scale(self, target: ResourceRequest) -> Document:
        cached = self._registry.read(target.kind, target.namespace, target.name)
        return build_scale(decode_json(cached.body))

    async def _write_scale(self, request: ObjectRequest) -> Answer:
        target = request.target
        if target.verb == "patch":
            patch = decode_patch(request.body, request.content_type)

            def change(current: Document) -> Document:
                return apply_scale(
                    target.kind, current, patch.apply(target.kind, "Scale", build_scale(current))
                )
        else:
            sent = self._read_document(request, "Scale", "autoscaling/v1")

            def change(current: Document) -> Document:
                return apply_scale(target.kind, current, sent)

        body = await self._registry.modify(
            target.kind, target.namespace, target.name, change, dry_run=request.is_dry_run
        )
        return Answer(encode_json(build_scale(decode_json(body))))

    async def _bind(self, request: ObjectRequest) -> Answer:
        target = request.target
        binding = self._read_document(request, "Binding", "v1")
        now = self._now()
        await self._registry.modify(
            POD,
            target.namespace,
            target.name,
            lambda pod: bind_pod(pod, binding, now),
            half=Half.WHOLE,
            dry_run=request.is_dry_run,
        )
        return Answer(encode_status(build_success(code=201)), 201)

    async def _evict(self, request: ObjectRequest) -> Answer:
        target = request.target
        eviction = self._read_document(request, "Eviction", "policy/v1")
        values = request.query.getall("dryRun", [])
        options = read_delete_options(request.query, values, eviction.get("deleteOptions") or {})
        await self._registry.delete(POD, target.namespace, target.name, options)
        return Answer(encode_status(build_success(code=201)), 201)

    def _issue_token(self, request: ObjectRequest) -> Answer:
        target, objects = request.target, CachedPolicies(self._cache)
        document = self._read_document(request, TOKEN_REQUEST.kind, TOKEN_REQUEST.api_version)
        check_types(TOKEN_REQUEST, target.name, document)
        node_name = get_node_name(request.user)
        if node_name:
            check_node_request(document, node_name, objects, target.namespace)
        grant = grant_token(
            document,
            (target.namespace, target.name),
            objects,
            issuer=self._signer.issuer,
            token_id=str(uuid4()),
            now=self._now(),
        )
        token = "" if request.is_dry_run else self._signer.sign(grant.claims)
        return Answer(encode_json(grant.complete(token)), 201)

    async def _delete(self, request: ObjectRequest) -> Answer:
        target = request.target
        kind = target.kind
        body, is_gone = await self._registry.delete(
            kind, target.namespace, target.name, self._read_delete_options(request)
        )
        if not is_gone or kind.deletion_returns_object:
            return self._render(request, body)
        uid = decode_json(body)["metadata"]["uid"]
        details = build_details(group=kind.group, kind=kind.plural, name=target.name, uid=uid)
        return Answer(encode_status(build_success(details)))

    async def _delete_collection(self, request: ObjectRequest) -> Answer:
        kind, namespace = request.target.kind, request.target.namespace
        if kind.namespaced and not namespace:
            raise method_not_allowed()
        options = self._read_delete_options(request)
        page = await self._read_page(request)
        bodies = []
        for cached in page.objects:
            try:
                body, _ = await self._registry.delete(kind, cached.namespace, cached.name, options)
            except ApiFailure as failure:
                if failure.code != not_found(kind, cached.name).code:
                    raise
                continue
            bodies.append(body)
        metadata = {"resourceVersion": str(self._cache.revision)}
        return Answer(render_list(kind, bodies, metadata, request.answer, now=self._now()))

    def _read_delete_options(self, request: ObjectRequest) -> DeleteOptions:
        body = decode_body(request.body, request.content_type)
        return read_delete_options(request.query, request.query.getall("dryRun", []), body)

    def _read_object(self, request: ObjectRequest) -> tuple[Document, tuple[str, ...]]:
        """The body as an object of the path's kind, and warnings about it."""
        kind = request.target.kind
        document = self._read_document(request, kind.kind, kind.api_version)
        mode = read_field_validation(request.query)
        if "fieldValidation" not in request.query:
            return document, ()
        return document, check_fields(kind.kind, kind.api_version, document, mode)

    def _read_document(self, request: ObjectRequest, kind: str, api_version: str) -> Document:
        document = decode_body(request.body, request.content_type)
        check_identity(
            document,
            kind=kind,
            api_version=api_version,
            namespace=request.target.namespace,
            name=request.target.name,
        )
        return document

    def _render(
        self, request: ObjectRequest, body: bytes, status: int = 200, warnings: tuple[str, ...] = ()
    ) -> Answer:
        include = request.query.get("includeObject", "Metadata")
        kind: Kind = request.target.kind
        rendered = render_object(kind, body, request.answer, now=self._now(), include_object=include)
        return Answer(rendered, status, warnings)
