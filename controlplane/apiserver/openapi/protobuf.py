"""The version 2 document as the protobuf message that older kubectl asks for.

Pure. Encodes what our documents hold and nothing more of the gnostic message openapi.v2.Document; vendor
extensions travel as YAML, of which JSON is a part. The wire format is that of the Protocol Buffers encoding
page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.openapi.schema import Document

MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_BYTES: Final = 2
_VARINT: Final = 0

# Field numbers, by message.
_DOCUMENT: Final = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
_INFO: Final = {"title": 1, "version": 2}
_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
_PATH_ITEM_PARAMETERS: Final = 9
_OPERATION: Final = {"operationId": 5, "produces": 6, "consumes": 7, "parameters": 8, "responses": 9}
_OPERATION_EXTENSION: Final = 13
_QUERY_PARAMETER: Final = {"required": 1, "in": 2, "name": 4, "type": 6}
_PATH_PARAMETER: Final = {"required": 1, "in": 2, "name": 4, "type": 5}
_BODY_PARAMETER: Final = {"name": 2, "in": 3, "required": 4, "schema": 5}
_RESPONSE: Final = {"description": 1, "schema": 2}
_SCHEMA: Final = {
    "$ref": 1,
    "format": 2,
    "required": 19,
    "additionalProperties": 21,
    "type": 22,
    "items": 23,
    "properties": 25,
}
_SCHEMA_EXTENSION: Final = 31


def encode_openapi_v2(document: Document) -> bytes:
    """The message of a document made by `build_openapi_v2`."""
    definitions = (
        _message(1, _named(name, _encode_schema(schema))) for name, schema in document["definitions"].items()
    )
    paths = (_message(2, _named(path, _encode_path(item))) for path, item in document["paths"].items())
    return _join(
        (
            _text(_DOCUMENT["swagger"], document["swagger"]),
            _message(_DOCUMENT["info"], _encode_texts(document["info"], _INFO)),
            _message(_DOCUMENT["paths"], _join(paths)),
            _message(_DOCUMENT["definitions"], _join(definitions)),
        )
    )


def _encode_path(item: Mapping[str, Any]) -> bytes:
    operations = (
        _message(number, _encode_operation(item[method]))
        for method, number in _METHODS.items()
        if method in item
    )
    parameters = (
        _message(_PATH_ITEM_PARAMETERS, _encode_parameter(parameter))
        for parameter in item.get("parameters", ())
    )
    return _join((*operations, *parameters))


def _encode_operation(operation: Mapping[str, Any]) -> bytes:
    parts = [_text(_OPERATION["operationId"], operation["operationId"])]
    for name in ("produces", "consumes"):
        parts.extend(_text(_OPERATION[name], value) for value in operation[name])
    parts.extend(
        _message(_OPERATION["parameters"], _encode_parameter(parameter))
        for parameter in operation["parameters"]
    )
    responses = (
        _message(1, _named(code, _message(1, _encode_response(answer))))
        for code, answer in operation["responses"].items()
    )
    parts.append(_message(_OPERATION["responses"], _join(responses)))
    parts.extend(_encode_extensions(operation, _OPERATION_EXTENSION))
    return _join(parts)


def _encode_parameter(parameter: Mapping[str, Any]) -> bytes:
    """A ParametersItem: Parameter, then body or non-body, then query or path."""
    if parameter["in"] == "body":
        body = _encode_texts(parameter, _BODY_PARAMETER)
        schema = _message(_BODY_PARAMETER["schema"], _encode_schema(parameter["schema"]))
        return _message(1, _message(1, body + schema))
    is_query = parameter["in"] == "query"
    encoded = _encode_texts(parameter, _QUERY_PARAMETER if is_query else _PATH_PARAMETER)
    return _message(1, _message(2, _message(3 if is_query else 4, encoded)))


def _encode_response(answer: Mapping[str, Any]) -> bytes:
    encoded = _text(_RESPONSE["description"], answer["description"])
    if "schema" in answer:
        encoded += _message(_RESPONSE["schema"], _message(1, _encode_schema(answer["schema"])))
    return encoded


def _encode_schema(schema: Mapping[str, Any]) -> bytes:
    return _join((*_encode_schema_fields(schema), *_encode_extensions(schema, _SCHEMA_EXTENSION)))


def _encode_schema_fields(schema: Mapping[str, Any]) -> Iterator[bytes]:
    for name in ("$ref", "format"):
        if name in schema:
            yield _text(_SCHEMA[name], schema[name])
    for name in schema.get("required", ()):
        yield _text(_SCHEMA["required"], name)
    if "additionalProperties" in schema:
        item = _message(1, _encode_schema(schema["additionalProperties"]))
        yield _message(_SCHEMA["additionalProperties"], item)
    if "type" in schema:
        yield _message(_SCHEMA["type"], _text(1, schema["type"]))
    if "items" in schema:
        yield _message(_SCHEMA["items"], _message(1, _encode_schema(schema["items"])))
    if "properties" in schema:
        properties = (
            _message(1, _named(name, _encode_schema(item))) for name, item in schema["properties"].items()
        )
        yield _message(_SCHEMA["properties"], _join(properties))


def _encode_extensions(holder: Mapping[str, Any], number: int) -> Iterator[bytes]:
    for name, value in holder.items():
        if name.startswith("x-"):
            yield _message(number, _named(name, _text(2, json.dumps(value))))


def _encode_texts(holder: Mapping[str, Any], numbers: Mapping[str, int]) -> bytes:
    """The fields of a message that are texts or true."""
    parts = []
    for name, number in numbers.items():
        match holder.get(name):
            case True:
                parts.append(_varint(number << 3 | _VARINT) + b"\x01")
            case str() as value:
                parts.append(_text(number, value))
            case _:
                continue
    return _join(parts)


def _named(name: str, value: bytes) -> bytes:
    """One entry of a map: its key and its message."""
    return _text(1, name) + _message(2, value)


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _join(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)
