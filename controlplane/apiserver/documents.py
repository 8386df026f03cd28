"""Documents and their bytes: reading bodies, encoding once, stamping the resource version into encoded bytes.

Pure. Stored bytes carry no resourceVersion, since storage only knows it after the write; `stamp_version`
puts it in front of the other metadata, so that an object is encoded once and from then on only copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import yaml

from controlplane.apiserver.kinds import Kind

Document = dict[str, Any]

MAXIMUM_BODY_BYTES: Final = 3 * 1024 * 1024

_METADATA: Final = b'"metadata":{'
_VERSION: Final = b'"metadata":{"resourceVersion":"'


class DocumentError(ValueError):
    """The body is not a document; the text says what is wrong with it."""


class _Yaml12Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: `yes` and `on` are text, and so are times and sexagesimal numbers."""


_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp", ":int"))]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:[0-9]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)


def decode_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"the body is not JSON: {error}") from error


def decode_yaml(body: bytes) -> Any:
    try:
        return yaml.load(body, Loader=_Yaml12Loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DocumentError(f"the body is not YAML: {' '.join(str(error).split())}") from error


def encode_json(document: object) -> bytes:
    return msgspec.json.encode(document)


def encode_yaml(document: object) -> bytes:
    text: str = yaml.dump(document, Dumper=yaml.CSafeDumper, default_flow_style=False, allow_unicode=True)
    return text.encode()


def encode_object(kind: Kind, document: Mapping[str, Any]) -> bytes:
    """The bytes to store: kind, apiVersion and metadata come first, the resource version is left out."""
    metadata = dict(document.get("metadata") or {})
    metadata.pop("resourceVersion", None)
    rest = {name: value for name, value in document.items() if name not in ("kind", "apiVersion", "metadata")}
    return msgspec.json.encode(
        {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata, **rest}
    )


def stamp_version(stored: bytes, revision: int) -> bytes:
    """Stored bytes as they are served: with metadata.resourceVersion."""
    head, metadata, tail = stored.partition(_METADATA)
    comma = b"" if tail.startswith(b"}") else b","
    return b'%s%s"resourceVersion":"%d"%s%s' % (head, metadata, revision, comma, tail)


def restamp_version(served: bytes, revision: int) -> bytes:
    """Served bytes with another resource version, as the event of a deletion carries them."""
    head, marker, tail = served.partition(_VERSION)
    _, quote, rest = tail.partition(b'"')
    return b"%s%s%d%s%s" % (head, marker, revision, quote, rest)


def join_list(
    kind_name: str, api_version: str, metadata: Mapping[str, Any], bodies: Iterable[bytes]
) -> bytes:
    """A list document around objects that are encoded already."""
    head = msgspec.json.encode({"kind": kind_name, "apiVersion": api_version, "metadata": metadata})
    return b'%s,"items":[%s]}' % (head[:-1], b",".join(bodies))


def read_text(document: Mapping[str, Any], path: str) -> str:
    """The value at a dotted path as field selectors compare it; absent is empty, booleans are lower case."""
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
