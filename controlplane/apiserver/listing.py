"""LIST: which objects, as of which revision, on which page.

Reads the cache, and storage for a revision that is no longer the current one (later pages, exact versions).
Called by the HTTP layer. Follows "Resource versions" and "Retrieving large results sets in chunks" of the
API concepts page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.apiserver.cache import WatchCache, build_cached_object
from controlplane.apiserver.failures import bad_request, expired, too_large_version
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.watching import CachedObject, Selection
from controlplane.storage.contract import Storage
from controlplane.storage.errors import CompactedError, FutureRevisionError

_READ_CHUNK: Final = 500
_EXACT: Final = "Exact"
_NOT_OLDER: Final = "NotOlderThan"


@dataclass(frozen=True, slots=True)
class ListOptions:
    selection: Selection
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Objects as of `revision`; a token if there are more, and how many more if that is known."""

    objects: Sequence[CachedObject]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


class _Token(msgspec.Struct, frozen=True):
    """Where the next page starts; opaque to clients."""

    revision: int
    after_key: str


def parse_version(text: str) -> int:
    """A resource version from a query; empty is 0."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a whole number')
    return int(text)


async def list_objects(cache: WatchCache, storage: Storage, kind: Kind, options: ListOptions) -> Page:
    """The page that the options ask for; ApiFailure 400, 410 or 504."""
    version = parse_version(options.resource_version)
    _check(options, version)
    if options.continue_token:
        token = _decode_token(options.continue_token, kind)
        return await _list_at(storage, kind, options, token.revision, token.after_key)
    if _is_exact(options, version):
        return await _list_at(storage, kind, options, version, "")
    await cache.wait_until(version)
    return _list_current(cache, kind, options)


def _check(options: ListOptions, version: int) -> None:
    if options.resource_version_match not in ("", _EXACT, _NOT_OLDER):
        raise bad_request(f'resourceVersionMatch: Unsupported value: "{options.resource_version_match}"')
    if options.resource_version_match and not options.resource_version:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if options.resource_version_match == _EXACT and version == 0:
        raise bad_request('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    if options.continue_token and version:
        raise bad_request("specifying resource version is not allowed when using continue")


def _is_exact(options: ListOptions, version: int) -> bool:
    """A limit together with a version has always meant exactly that version."""
    if options.resource_version_match:
        return options.resource_version_match == _EXACT
    return bool(options.limit and version)


def _list_current(cache: WatchCache, kind: Kind, options: ListOptions) -> Page:
    selected = _filter(cache.select(kind, options.selection.namespace), options.selection)
    objects = list(selected)
    if not options.limit or len(objects) <= options.limit:
        return Page(objects, cache.revision)
    page = objects[: options.limit]
    token = _encode_token(cache.revision, page[-1].key)
    return Page(page, cache.revision, token, len(objects) - len(page))


async def _list_at(storage: Storage, kind: Kind, options: ListOptions, revision: int, after_key: str) -> Page:
    """From storage, chunk by chunk until the page is full."""
    namespace = options.selection.namespace
    prefix = f"{kind.prefix}{namespace}/" if namespace else kind.prefix
    found: list[CachedObject] = []
    wanted, more = options.limit, True
    while more and (not wanted or len(found) <= wanted):
        try:
            listing = await storage.list_prefix(
                prefix, revision=revision, limit=max(_READ_CHUNK, wanted + 1), after_key=after_key
            )
        except CompactedError as error:
            raise expired(
                "The provided continue parameter or resource version is too old "
                "to display a consistent list result; list again without it."
            ) from error
        except FutureRevisionError as error:
            raise too_large_version(revision, error.current) from error
        decoded = (build_cached_object(kind, item.key, item.value, item.revision) for item in listing.items)
        found.extend(_filter(decoded, options.selection))
        more = listing.more
        after_key = listing.items[-1].key if listing.items else after_key
    if not wanted or len(found) <= wanted:
        return Page(found, revision)
    page = found[:wanted]
    return Page(page, revision, _encode_token(revision, page[-1].key))


def _filter(objects: Iterator[CachedObject], selection: Selection) -> Iterator[CachedObject]:
    return (cached for cached in objects if selection.matches(cached))


def _encode_token(revision: int, after_key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(revision, after_key))).decode().rstrip("=")


def _decode_token(text: str, kind: Kind) -> _Token:
    try:
        padded = text + "=" * (-len(text) % 4)
        token = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Token)
    except (binascii.Error, ValueError) as error:
        raise bad_request("continue key is not valid: it is none of this server's tokens") from error
    if not token.after_key.startswith(kind.prefix) or token.revision <= 0:
        raise bad_request("continue key is not valid: it belongs to another list")
    return token
