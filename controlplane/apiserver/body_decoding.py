"""Request bodies of objects: read as their content type says, held against the kind they are meant for.

Pure. Called by the HTTP layer on the bytes it has read; ApiFailure 400 or 415 says what is wrong. Fields
that a kind does not have become an error or warnings, as the request's `fieldValidation` wishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from controlplane.apiserver.documents import Document, DocumentError, decode_json, decode_yaml
from controlplane.apiserver.failures import ApiFailure, bad_request, invalid, unsupported_media_type
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.negotiation import JSON, YAML, parse_content_type
from controlplane.apiserver.openapi.conform import conform_document
from controlplane.apiserver.patch import (
    PatchError,
    PatchNotApplicable,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_merge_patch,
)
from controlplane.apiserver.protobuf.decode import MEDIA_TYPE as PROTOBUF
from controlplane.apiserver.protobuf.decode import decode_protobuf
from controlplane.apiserver.request_options import FieldValidation
from kubeapi.status import StatusCause

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
PATCH_MEDIA_TYPES: Final = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)

_DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = MappingProxyType(
    {JSON: decode_json, YAML: decode_yaml, PROTOBUF: decode_protobuf}
)


def decode_body(body: bytes, content_type: str) -> Document:
    """A JSON, YAML or protobuf document; an empty body is an empty document."""
    decode = _DECODERS.get(parse_content_type(content_type))
    if decode is None:
        raise unsupported_media_type(_DECODERS)
    if not body.strip():
        return {}
    try:
        document = decode(body)
    except DocumentError as error:
        raise bad_request(str(error)) from error
    if not isinstance(document, dict):
        raise bad_request("the body is not an object but a plain value or a list")
    return document


def check_identity(
    document: Mapping[str, Any], *, kind: str, api_version: str, namespace: str = "", name: str = ""
) -> None:
    """The body must be of the kind, and in the namespace and of the name, that the path says."""
    sent_kind, sent_version = document.get("kind") or kind, document.get("apiVersion") or api_version
    if (sent_kind, sent_version) != (kind, api_version):
        raise bad_request(
            f'{sent_kind} in version "{sent_version}" cannot be handled as a {kind}: '
            f"expected {kind} in version {api_version!r}"
        )
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata: must be an object")
    if namespace and (metadata.get("namespace") or namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    sent_name = metadata.get("name") or name
    if name and sent_name != name:
        raise bad_request(f"the name of the object ({sent_name}) does not match the name on the URL ({name})")


def check_fields(
    kind: str, api_version: str, document: Mapping[str, Any], mode: FieldValidation
) -> tuple[str, ...]:
    """Warnings about unknown fields; ApiFailure 400 instead if the request is strict."""
    if mode is FieldValidation.IGNORE:
        return ()
    unknown = conform_document(kind, document).unknown_fields
    warnings = tuple(f'unknown field "{path}"' for path in unknown)
    if warnings and mode is FieldValidation.STRICT:
        raise bad_request(
            f'{kind} in version "{api_version}" cannot be handled as a {kind}: '
            f"strict decoding error: {', '.join(warnings)}"
        )
    return warnings


class Patch:
    """A patch that was read and can be applied to whatever the object is by then."""

    def __init__(self, media_type: str, content: Any) -> None:
        self._media_type = media_type
        self._content = content

    def apply(self, kind: Kind, schema_name: str, document: Document) -> Document:
        """The patched document; ApiFailure 400 for a malformed patch, 422 for one that does not apply."""
        try:
            if self._media_type == JSON_PATCH:
                patched = apply_json_patch(document, self._content)
            elif self._media_type == MERGE_PATCH:
                patched = apply_merge_patch(document, self._content)
            else:
                patched = apply_strategic_merge_patch(schema_name, document, self._content)
        except PatchNotApplicable as error:
            raise _not_applicable(kind, document, error) from error
        except PatchError as error:
            raise bad_request(str(error)) from error
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise bad_request("the patch leaves no object behind")
        return patched


def decode_patch(body: bytes, content_type: str) -> Patch:
    media_type = parse_content_type(content_type)
    if media_type not in PATCH_MEDIA_TYPES:
        raise unsupported_media_type(PATCH_MEDIA_TYPES)
    try:
        return Patch(media_type, decode_json(body))
    except DocumentError as error:
        raise bad_request(f"error decoding patch: {error}") from error


def _not_applicable(kind: Kind, document: Mapping[str, Any], error: PatchError) -> ApiFailure:
    """As a cause: of an invalid object kubectl shows nothing but its causes."""
    cause = StatusCause(reason="FieldValueInvalid", message=error.message, field=error.path)
    return invalid(kind, document["metadata"]["name"], (cause,))
