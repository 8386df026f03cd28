"""Objects in the form that a client asked for: as they are, as YAML, as a Table, as metadata only.

Pure. Called by the HTTP layer with served bytes; plain JSON is passed on untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controlplane.apiserver.documents import (
    Document,
    decode_json,
    encode_json,
    encode_yaml,
    join_list,
)
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.negotiation import YAML, Format, Shape
from controlplane.apiserver.printing import build_table


def render_document(document: Mapping[str, Any], answer: Format) -> bytes:
    """A document that is no object of a kind (a Status, discovery)."""
    return encode_yaml(document) if answer.media_type == YAML else encode_json(document)


def render_object(
    kind: Kind, body: bytes, answer: Format, *, now: datetime, include_object: str = "Metadata"
) -> bytes:
    """One object."""
    match answer.shape:
        case Shape.TABLE:
            document = decode_json(body)
            table = build_table(kind.kind, [document], now, include_object)
            table["metadata"] = {"resourceVersion": document["metadata"].get("resourceVersion", "")}
            return render_document(table, answer)
        case Shape.PARTIAL | Shape.PARTIAL_LIST:
            return render_document(build_partial(decode_json(body)), answer)
        case _:
            return encode_yaml(decode_json(body)) if answer.media_type == YAML else body


def render_list(
    kind: Kind,
    bodies: Sequence[bytes],
    metadata: Mapping[str, Any],
    answer: Format,
    *,
    now: datetime,
    include_object: str = "Metadata",
) -> bytes:
    """A list of objects."""
    match answer.shape:
        case Shape.TABLE:
            table = build_table(kind.kind, [decode_json(body) for body in bodies], now, include_object)
            return render_document({**table, "metadata": metadata}, answer)
        case Shape.PARTIAL | Shape.PARTIAL_LIST:
            partial = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": [build_partial(decode_json(body)) for body in bodies],
            }
            return render_document(partial, answer)
        case _:
            joined = join_list(kind.list_kind, kind.api_version, metadata, bodies)
            return encode_yaml(decode_json(joined)) if answer.media_type == YAML else joined


def build_partial(document: Mapping[str, Any]) -> Document:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }
