"""Writes to objects: create, modify and delete, each as one compare-and-swap against storage.

The shell around the pure parts (strategies, defaults, validation, deletion): it reads the cache, asks them,
writes to storage and returns when the cache shows the write, so that whoever is answered can also read it.
Called by the HTTP layer and by `bootstrap`. A write without a resource version is tried again when somebody
else was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from enum import Enum
from random import SystemRandom
from typing import Any, Final, assert_never
from uuid import uuid4

from controlplane.apiserver.admission import admit_creation, admit_deletion, admit_update
from controlplane.apiserver.allocation import prepare_service_update
from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.defaults import fill_defaults
from controlplane.apiserver.deletion import (
    DeleteOptions,
    Keep,
    Mark,
    Remove,
    is_ready_to_remove,
    plan_deletion,
)
from controlplane.apiserver.documents import (
    Document,
    decode_json,
    encode_object,
    restamp_version,
    stamp_version,
)
from controlplane.apiserver.failures import (
    ApiFailure,
    already_exists,
    conflict,
    forbidden,
    invalid,
    modified,
    not_found,
)
from controlplane.apiserver.kinds import NAMESPACE, SERVICE, Kind
from controlplane.apiserver.openapi.conform import conform_document
from controlplane.apiserver.pod_subresources import take_ephemeral_containers, take_resize
from controlplane.apiserver.service_addresses import ServiceAddresses
from controlplane.apiserver.strategies import (
    count_generation,
    is_same_object,
    prepare_creation,
    prepare_finalize,
    prepare_status_update,
    prepare_update,
)
from controlplane.apiserver.validation import (
    Cause,
    find_broken_rules,
    find_type_errors,
    list_type_causes,
)
from controlplane.apiserver.watching import CachedObject
from controlplane.storage.contract import Storage
from controlplane.storage.errors import KeyExistsError, RevisionConflictError
from kubeapi.meta import format_time
from kubeapi.status import StatusCause

_WRITE_ATTEMPTS: Final = 16
_NAME_ATTEMPTS: Final = 8
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_MAXIMUM_BASE_LENGTH: Final = 63 - _SUFFIX_LENGTH

Change = Callable[[Document], Mapping[str, Any]]
"""From the object as it is to the object as a client wants it; may raise ApiFailure."""


class Half(Enum):
    """Which part of an object a write is about."""

    OBJECT = "object"
    STATUS = "status"
    FINALIZE = "finalize"
    EPHEMERAL_CONTAINERS = "ephemeralcontainers"
    RESIZE = "resize"
    WHOLE = "whole"


_PARTS: Final[Mapping[Half, str]] = {
    Half.STATUS: "status",
    Half.EPHEMERAL_CONTAINERS: "ephemeralcontainers",
    Half.RESIZE: "resize",
}
"""The halves whose changes have rules of their own."""


class CachedPolicies:
    """Policy objects as the watch cache has them."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    def find(self, kind: Kind, namespace: str, name: str) -> Document | None:
        cached = self._cache.find(kind, namespace, name)
        return decode_json(cached.body) if cached is not None else None

    def select(self, kind: Kind) -> Iterator[Document]:
        return (decode_json(cached.body) for cached in self._cache.select(kind))


class Registry:
    """All kinds' writes. `now` is the server's clock."""

    def __init__(
        self, storage: Storage, cache: WatchCache, addresses: ServiceAddresses, now: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._addresses = addresses
        self._now = now
        self._random = SystemRandom()
        self._policies = CachedPolicies(cache)

    def read(self, kind: Kind, namespace: str, name: str) -> CachedObject:
        """The current object; ApiFailure 404."""
        cached = self._cache.find(kind, namespace, name)
        if cached is None:
            raise not_found(kind, name)
        return cached

    async def create(
        self, kind: Kind, namespace: str, document: Mapping[str, Any], *, dry_run: bool = False
    ) -> bytes:
        """Store a new object and return it as served."""
        self._require_open_namespace(kind, namespace)
        for attempt in range(_NAME_ATTEMPTS):
            # Anew each time: defaulting changes it.
            conformed = _conform(kind, _read_name(document), document)
            metadata = conformed.get("metadata", {})
            name, base = metadata.get("name", ""), metadata.get("generateName", "")
            chosen = name or (self._generate_name(base) if base else "")
            try:
                return await self._create_named(kind, namespace, chosen, conformed, dry_run=dry_run)
            except KeyExistsError as error:
                if name or not base or attempt == _NAME_ATTEMPTS - 1:
                    raise already_exists(kind, chosen) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def modify(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Change,
        *,
        half: Half = Half.OBJECT,
        dry_run: bool = False,
    ) -> bytes:
        """Change an object and return it as served; ApiFailure 404, 409, 422 or whatever `change` raises."""
        for _ in range(_WRITE_ATTEMPTS):
            cached = self.read(kind, namespace, name)
            old = decode_json(cached.body)
            try:
                return await self._write(kind, cached, old, change(old), half, dry_run=dry_run)
            except RevisionConflictError as error:
                await self._catch_up(error)
        raise modified(kind, name)

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """The object's last state, and whether it is gone already rather than only marked."""
        admit_deletion(kind, name)
        for _ in range(_WRITE_ATTEMPTS):
            cached = self.read(kind, namespace, name)
            _check_preconditions(kind, cached, options)
            try:
                return await self._delete_once(kind, cached, options)
            except RevisionConflictError as error:
                if options.resource_version:
                    raise modified(kind, name) from error
                await self._catch_up(error)
        raise modified(kind, name)

    async def _create_named(
        self, kind: Kind, namespace: str, name: str, conformed: Document, *, dry_run: bool
    ) -> bytes:
        if self._cache.find(kind, namespace, name) is not None:
            raise KeyExistsError(kind.key(namespace, name))
        prepared = prepare_creation(
            kind,
            conformed,
            namespace=namespace,
            name=name,
            uid=str(uuid4()),
            created=format_time(self._now()),
        )
        completed = admit_creation(kind, fill_defaults(kind.kind, prepared), self._policies)
        _raise_causes(kind, name, find_broken_rules(kind.kind, completed))
        with self._reserve_addresses(kind, completed, None) as addressed:
            stored = encode_object(kind, addressed)
            if dry_run:
                return stored
            revision = await self._storage.create(kind.key(namespace, name), stored)
            await self._cache.wait_until(revision)
        return stamp_version(stored, revision)

    async def _write(
        self,
        kind: Kind,
        cached: CachedObject,
        old: Document,
        wanted: Mapping[str, Any],
        half: Half,
        *,
        dry_run: bool,
    ) -> bytes:
        conformed = _conform(kind, cached.name, wanted)
        _check_sent_metadata(kind, cached, old, conformed)
        new = self._complete(kind, conformed, old, half)
        with self._reserve_addresses(kind, new, old) as addressed:
            if is_same_object(addressed, old) or dry_run:
                return stamp_version(encode_object(kind, addressed), cached.revision)
            stored = encode_object(kind, addressed)
            if is_ready_to_remove(kind, addressed):
                revision = await self._storage.delete(cached.key, cached.revision)
            else:
                revision = await self._storage.update(cached.key, stored, cached.revision)
            await self._cache.wait_until(revision)
        return stamp_version(stored, revision)

    def _complete(self, kind: Kind, wanted: Document, old: Document, half: Half) -> Document:
        """What is to be stored, or ApiFailure 422; `wanted` conforms to its schema."""
        match half:
            case Half.OBJECT:
                prepared = prepare_update(kind, wanted, old)
            case Half.STATUS:
                prepared = prepare_status_update(kind, wanted, old)
            case Half.EPHEMERAL_CONTAINERS:
                prepared = take_ephemeral_containers(wanted, old)
            case Half.RESIZE:
                prepared = take_resize(wanted, old)
            case Half.FINALIZE:
                return prepare_finalize(wanted, old)
            case Half.WHOLE:
                return wanted
            case _:
                assert_never(half)
        name = old["metadata"]["name"]
        conformed = _conform_rest(kind, name, prepared, wanted)
        completed = admit_update(kind, fill_defaults(kind.kind, conformed), old)
        before = _complete_stored(kind, old, completed, half)
        if kind == SERVICE:
            completed = prepare_service_update(completed, before)
        new = count_generation(kind, completed, before)
        _raise_causes(kind, name, find_broken_rules(kind.kind, new, before, _PARTS.get(half, "")))
        return new

    async def _delete_once(
        self, kind: Kind, cached: CachedObject, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        document = decode_json(cached.body)
        plan = plan_deletion(kind, document, options, self._now())
        if options.dry_run:
            return cached.body, isinstance(plan, Remove)
        match plan:
            case Keep():
                return cached.body, False
            case Remove():
                revision = await self._storage.delete(cached.key, cached.revision)
                await self._cache.wait_until(revision)
                return restamp_version(cached.body, revision), True
            case Mark(marked):
                stored = encode_object(kind, marked)
                revision = await self._storage.update(cached.key, stored, cached.revision)
                await self._cache.wait_until(revision)
                return stamp_version(stored, revision), False
            case _:
                assert_never(plan)

    def _reserve_addresses(
        self, kind: Kind, new: Document, old: Document | None
    ) -> AbstractContextManager[Document]:
        return self._addresses.reserve(new, old) if kind == SERVICE else nullcontext(new)

    def _require_open_namespace(self, kind: Kind, namespace: str) -> None:
        if not kind.namespaced:
            return
        cached = self._cache.find(NAMESPACE, "", namespace)
        if cached is None:
            raise not_found(NAMESPACE, namespace)
        if (
            b'"deletionTimestamp":' in cached.body
            and "deletionTimestamp" in decode_json(cached.body)["metadata"]
        ):
            raise forbidden(
                kind,
                "",
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )

    def _generate_name(self, base: str) -> str:
        suffix = "".join(self._random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))
        return base[:_MAXIMUM_BASE_LENGTH] + suffix

    async def _catch_up(self, error: RevisionConflictError) -> None:
        await self._cache.wait_until(error.actual or self._storage.revision)


def read_utc_clock() -> datetime:
    return datetime.now(UTC)


def _conform(kind: Kind, name: str, document: Mapping[str, Any]) -> Document:
    """The document in canonical form, all its objects new; ApiFailure 422 for values of the wrong type."""
    conformed = conform_document(kind.kind, document)
    _raise_causes(kind, name, list_type_causes(conformed))
    return conformed.document


def _conform_rest(kind: Kind, name: str, prepared: Document, conformed: Mapping[str, Any]) -> Document:
    """As `_conform`, of a document whose parts are in part those of one that conforms."""
    is_done = {part: part in conformed and conformed[part] is value for part, value in prepared.items()}
    rest = _conform(kind, name, {part: value for part, value in prepared.items() if not is_done[part]})
    return {
        part: value if is_done[part] else rest[part]
        for part, value in prepared.items()
        if is_done[part] or part in rest
    }


def _complete_stored(kind: Kind, old: Document, completed: Document, half: Half) -> Document:
    """The stored object with today's defaults: what a former version stored lacks those, and no client has
    changed them.
    """
    if half is Half.STATUS and kind != SERVICE:
        # Outside its status and metadata the new object is the old one, which was completed with it.
        return {**completed, "metadata": old["metadata"]}
    return fill_defaults(kind.kind, conform_document(kind.kind, old).document)


def _check_sent_metadata(kind: Kind, cached: CachedObject, old: Document, wanted: Mapping[str, Any]) -> None:
    """A resource version or a UID that the client sends must be the current one."""
    sent = wanted.get("metadata") or {}
    version, uid = sent.get("resourceVersion"), sent.get("uid")
    if version and version != str(cached.revision):
        raise modified(kind, cached.name)
    if uid and uid != old["metadata"]["uid"]:
        raise _uid_mismatch(kind, cached.name, uid, old["metadata"]["uid"])
    if kind.updates_need_version and not version:
        cause = StatusCause(
            reason="FieldValueInvalid",
            field="metadata.resourceVersion",
            message="Invalid value: 0: must be specified for an update",
        )
        raise invalid(kind, cached.name, (cause,))


def _check_preconditions(kind: Kind, cached: CachedObject, options: DeleteOptions) -> None:
    if options.resource_version and options.resource_version != str(cached.revision):
        raise conflict(
            kind,
            cached.name,
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {cached.revision}",
        )
    if options.uid:
        uid = decode_json(cached.body)["metadata"]["uid"]
        if uid != options.uid:
            raise _uid_mismatch(kind, cached.name, options.uid, uid)


def _read_name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""


def _uid_mismatch(kind: Kind, name: str, wanted: str, actual: str) -> ApiFailure:
    return conflict(
        kind,
        name,
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}",
    )


def check_types(kind: Kind, name: str, document: Mapping[str, Any]) -> None:
    """ApiFailure 422 for values that are not of their field's type."""
    _raise_causes(kind, name, find_type_errors(kind.kind, document))


def _raise_causes(kind: Kind, name: str, causes: tuple[Cause, ...]) -> None:
    if causes:
        raise invalid(
            kind,
            name,
            (StatusCause(reason=cause.reason, message=cause.message, field=cause.field) for cause in causes),
        )
