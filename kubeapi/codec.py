"""JSON of the API to views and back: bodies that are sent, objects and lists that come.

Pure. Called by `kubeapi.client`; decoders are built once for each kind of view.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec

from kubeapi.errors import MalformedAnswer
from kubeapi.meta import ListMeta, Object, View
from kubeapi.resources import Resource, ViewT
from kubeapi.status import Status

DecodedT = TypeVar("DecodedT")

Body = View | Mapping[str, object] | bytes
"""What can be sent: a view, a mapping in JSON's own names, or bytes that are sent as they are."""


class ObjectList(View, Generic[ViewT], frozen=True, kw_only=True):
    """A list as one consistent whole: `metadata.resource_version` is where a watch goes on."""

    metadata: ListMeta = ListMeta()
    items: tuple[ViewT, ...] = ()


def encode_body(resource: Resource[ViewT], body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, Object) and not body.kind:
        body = msgspec.structs.replace(body, api_version=resource.api_version, kind=resource.kind)
    return msgspec.json.encode(body)


class Decoder(Generic[DecodedT]):
    """Decodes JSON to one type, with an explicit null read as if the field were left out.

    Go writes an empty list as null in some places (the endpoints of an EndpointSlice). The fast path doesn't
    look for them; only a document that it refuses is decoded again without its nulls.
    """

    def __init__(self, type_: type[DecodedT]) -> None:
        self._decoder = msgspec.json.Decoder(type_)

    def decode(self, document: bytes | msgspec.Raw) -> DecodedT:
        """Raises msgspec.DecodeError."""
        try:
            return self._decoder.decode(document)
        except msgspec.ValidationError:
            plain = _without_nulls(msgspec.json.decode(document))
            return self._decoder.decode(msgspec.json.encode(plain))


@lru_cache(maxsize=64)
def decoder_for(view: type[ViewT]) -> Decoder[ViewT]:
    return Decoder(view)


@lru_cache(maxsize=64)
def _list_decoder(view: type[ViewT]) -> Decoder[ObjectList[ViewT]]:
    return Decoder(ObjectList[view])  # type: ignore[valid-type]


def decode_object(resource: Resource[ViewT], body: bytes) -> ViewT:
    """The object in an answer; a mere Success gives an empty view. Raises MalformedAnswer."""
    decoder: Decoder[ViewT] = decoder_for(resource.view)
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        if _is_success(body):
            return resource.view()
        raise MalformedAnswer(f"the answer is no readable {resource.kind}: {error}") from error


def decode_list(resource: Resource[ViewT], body: bytes) -> ObjectList[ViewT]:
    """One page of a list, its items with their kind; raises MalformedAnswer."""
    decoder: Decoder[ObjectList[ViewT]] = _list_decoder(resource.view)
    try:
        page = decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(f"the answer is no readable list of {resource.kind}: {error}") from error
    for item in page.items:
        # Items of a list may leave their type out, because the list says it.
        if not item.kind:
            msgspec.structs.force_setattr(item, "kind", resource.kind)
            msgspec.structs.force_setattr(item, "api_version", resource.api_version)
    return page


def _without_nulls(value: object) -> object:
    match value:
        case dict():
            return {key: _without_nulls(each) for key, each in value.items() if each is not None}
        case list():
            return [_without_nulls(each) for each in value]
        case _:
            return value


def _is_success(body: bytes) -> bool:
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        return False
    return status.kind == "Status" and status.status == "Success"
