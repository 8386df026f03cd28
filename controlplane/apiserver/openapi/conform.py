"""Reads a decoded document as its kind's schema sees it: what fits, what has the wrong type, what is unknown.

Pure. A typed server decodes into structures and encodes them again, and this does the same to plain
documents: nulls, unknown fields and empty optional lists and maps vanish, quantities, times and base64 come
out in their canonical form. Called before defaulting and validation, which may then rely on every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from controlplane.apiserver.openapi.compiled import read_fitting
from controlplane.apiserver.openapi.scalars import (
    SCALAR_READERS,
    WRONG_TYPE,
    RejectedError,
    explain_wrong_type,
)
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


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that its field can't hold; `message` goes behind the value."""

    path: str
    value: Any
    message: str

    @property
    def is_wrong_type(self) -> bool:
        """Whether the JSON type is wrong, and not only the text in it."""
        return self.message.startswith(WRONG_TYPE)


@dataclass(frozen=True, slots=True)
class Conformed:
    """A document as its schema sees it; values of the wrong type are left out of `document`."""

    document: Document
    mismatches: tuple[Mismatch, ...]
    unknown_fields: tuple[str, ...]


def conform_document(kind_name: str, document: object) -> Conformed:
    """The document's conforming part and what was left out; a kind without schema is taken as it comes."""
    if not isinstance(document, dict):
        return Conformed({}, (Mismatch("", document, explain_wrong_type("object", document)),), ())
    fitting = read_fitting(kind_name, document)
    return Conformed(fitting, (), ()) if fitting is not None else examine_document(kind_name, document)


def examine_document(kind_name: str, document: Document) -> Conformed:
    """As `conform_document`, field by field, so that whatever doesn't fit is found with its path."""
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
                    return self._reject(value, path, explain_wrong_type("object", value))
                return self.read_object(value, find_schema(name), path)
            case ListOf(item):
                if not isinstance(value, list):
                    return self._reject(value, path, explain_wrong_type("array", value))
                return self._read_items(value, item, path)
            case MapOf(item):
                if not isinstance(value, dict):
                    return self._reject(value, path, explain_wrong_type("object", value))
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
            return SCALAR_READERS[scalar](value)
        except RejectedError as error:
            return self._reject(value, path, str(error))

    def _reject(self, value: Any, path: str, message: str) -> object:
        self.mismatches.append(Mismatch(path, value, message))
        return _ABSENT


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
