"""Reads a decoded document as its kind's schema sees it: what fits, what has the wrong type, what is unknown.

Pure. A typed server decodes into structures and encodes them again, and this does the same to plain
documents: nulls, unknown fields and empty optional lists and maps vanish, quantities, times and base64 come
out in their canonical form. Called before defaulting and validation, which may then rely on every type.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from controlplane.apiserver.openapi.schema import (
    Document,
    Field,
    FieldType,
    ListOf,
    MapOf,
    ObjectSchema,
    Reference,
    Scalar,
    find_kind_schema,
    find_schema,
)
from kubeapi.meta import format_micro_time, format_time, parse_time
from kubeapi.quantity import QuantityError, format_quantity, parse_quantity


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that its field can't hold; `message` goes behind the value."""

    path: str
    value: Any
    message: str

    @property
    def is_wrong_type(self) -> bool:
        """Whether the JSON type is wrong, and not only the text in it."""
        return self.message.startswith(_WRONG_TYPE)


@dataclass(frozen=True, slots=True)
class Conformed:
    """A document as its schema sees it; values of the wrong type are left out of `document`."""

    document: Document
    mismatches: tuple[Mismatch, ...]
    unknown_fields: tuple[str, ...]


def conform_document(kind_name: str, document: object) -> Conformed:
    """The document's conforming part and what was left out; a kind without schema is taken as it comes."""
    if not isinstance(document, dict):
        return Conformed({}, (Mismatch("", document, _wrong_type("object", document)),), ())
    schema = find_kind_schema(kind_name)
    if schema is None:
        return Conformed(dict(document), (), ())
    reader = _Reader()
    return Conformed(
        reader.read_object(document, schema, ""), tuple(reader.mismatches), tuple(reader.unknown_fields)
    )


_ABSENT: Final = object()


@dataclass(slots=True)
class _Reader:
    mismatches: list[Mismatch] = field(default_factory=list)
    unknown_fields: list[str] = field(default_factory=list)

    def read_object(self, document: Mapping[str, Any], schema: ObjectSchema, path: str) -> Document:
        result: Document = {}
        for name, value in document.items():
            known = schema.fields.get(name)
            child = f"{path}.{name}" if path else str(name)
            if known is None:
                self.unknown_fields.append(child)
            elif value is not None:
                self._read_field(result, known, value, child)
        return result

    def _read_field(self, result: Document, known: Field, value: Any, path: str) -> None:
        read = self.read_value(value, known.type, path)
        is_collection = isinstance(known.type, ListOf | MapOf)
        if read is not _ABSENT and (read or known.required or not is_collection):
            result[known.name] = read

    def read_value(self, value: Any, kind: FieldType, path: str) -> Any:
        match kind:
            case Scalar():
                return self._read_scalar(value, kind, path)
            case Reference(name):
                if not isinstance(value, dict):
                    return self._reject(value, path, _wrong_type("object", value))
                return self.read_object(value, find_schema(name), path)
            case ListOf(item):
                if not isinstance(value, list):
                    return self._reject(value, path, _wrong_type("array", value))
                return self._read_items(value, item, path)
            case MapOf(item):
                if not isinstance(value, dict):
                    return self._reject(value, path, _wrong_type("object", value))
                return self._read_entries(value, item, path)
            case _:
                assert_never(kind)

    def _read_items(self, values: list[Any], item: FieldType, path: str) -> list[Any]:
        read = [
            self.read_value(_zero(item) if value is None else value, item, f"{path}[{index}]")
            for index, value in enumerate(values)
        ]
        return [value for value in read if value is not _ABSENT]

    def _read_entries(self, values: Mapping[str, Any], item: FieldType, path: str) -> Document:
        read = {
            key: self.read_value(_zero(item) if value is None else value, item, f"{path}[{key}]")
            for key, value in values.items()
        }
        return {key: value for key, value in read.items() if value is not _ABSENT}

    def _read_scalar(self, value: Any, scalar: Scalar, path: str) -> Any:
        try:
            return _SCALAR_READERS[scalar](value)
        except _RejectedError as error:
            return self._reject(value, path, str(error))

    def _reject(self, value: Any, path: str, message: str) -> object:
        self.mismatches.append(Mismatch(path, value, message))
        return _ABSENT


class _RejectedError(Exception):
    """A leaf that is not of its type; carried no further than `_read_scalar`."""


def _zero(kind: FieldType) -> Any:
    """What a null inside a list or map stands for."""
    match kind:
        case Scalar.STRING | Scalar.BYTES:
            return ""
        case Scalar.QUANTITY | Scalar.INTEGER | Scalar.NUMBER | Scalar.INT_OR_STRING:
            return 0
        case Reference() | MapOf() | Scalar.OBJECT:
            return {}
        case _:
            return None


def json_type_name(value: object) -> str:
    """JSON's own word for a value's type."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


_WRONG_TYPE: Final = "must be of type"


def _wrong_type(expected: str, value: object) -> str:
    return f"{_WRONG_TYPE} {expected}, not {json_type_name(value)}"


def _read_string(value: Any) -> Any:
    if not isinstance(value, str):
        raise _RejectedError(_wrong_type("string", value))
    return value


def _read_integer(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _RejectedError(_wrong_type("integer", value))
    if not -(2**63) <= value < 2**63:
        raise _RejectedError("must fit in 64 bits")
    return value


def _read_boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise _RejectedError(_wrong_type("boolean", value))
    return value


def _read_number(value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _RejectedError(_wrong_type("number", value))
    return value


def _read_int_or_string(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _RejectedError(_wrong_type("integer or string", value))
    return value


_CANONICAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_CANONICAL_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def _read_time(value: Any) -> Any:
    instant = _read_instant(value)
    return value if _CANONICAL_TIME.fullmatch(value) else format_time(instant)


def _read_micro_time(value: Any) -> Any:
    instant = _read_instant(value)
    return value if _CANONICAL_MICRO_TIME.fullmatch(value) else format_micro_time(instant)


def _read_instant(value: Any) -> Any:
    try:
        return parse_time(_read_string(value))
    except (ValueError, OverflowError) as error:
        raise _RejectedError("must be a time of RFC 3339, for example 2026-01-02T03:04:05Z") from error


def _read_quantity(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _RejectedError(_wrong_type("quantity", value))
    try:
        return format_quantity(parse_quantity(value))
    except QuantityError as error:
        raise _RejectedError(_QUANTITY_RULE) from error


_QUANTITY_RULE: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def _read_bytes(value: Any) -> Any:
    text = _read_string(value).replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _RejectedError("must be base64") from error


_SCALAR_READERS: Final[Mapping[Scalar, Callable[[Any], Any]]] = {
    Scalar.STRING: _read_string,
    Scalar.INTEGER: _read_integer,
    Scalar.BOOLEAN: _read_boolean,
    Scalar.NUMBER: _read_number,
    Scalar.TIME: _read_time,
    Scalar.MICRO_TIME: _read_micro_time,
    Scalar.QUANTITY: _read_quantity,
    Scalar.INT_OR_STRING: _read_int_or_string,
    Scalar.BYTES: _read_bytes,
    Scalar.OBJECT: lambda value: value,
}
