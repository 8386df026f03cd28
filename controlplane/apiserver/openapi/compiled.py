"""A reader for each kind, built once from its schema: for the documents that fit, which nearly all do.

Pure. A reader does what `conform` does to a document in which every field is known and of its type, and no
list or map holds a null; on any other it gives up with Irregular, and `conform` reads it again, slowly, to
say what is wrong and where. A test holds the two against each other. Called by `conform` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple, assert_never

from controlplane.apiserver.openapi.scalars import SCALAR_READERS, RejectedError
from controlplane.apiserver.openapi.schema import (
    Document,
    FieldType,
    ListOf,
    MapOf,
    ObjectSchema,
    Reference,
    Scalar,
    find_kind_schema,
    find_schema,
)

Read = Callable[[Any], Any]
"""From a value to its canonical form, all of whose lists and maps are new; Irregular or RejectedError."""


class Irregular(Exception):
    """The document has something that must be told to its author."""


class _Step(NamedTuple):
    """How one field is read; a value of exactly the type `plain` is taken as it is."""

    plain: type | None
    read: Read
    keeps_empty: bool


_PLAIN_TYPES: Final = {Scalar.STRING: str, Scalar.BOOLEAN: bool}


def read_fitting(kind_name: str, document: Document) -> Document | None:
    """The document in its canonical form; None for one that doesn't fit, and for a kind without schema."""
    read = _compile_kind(kind_name)
    if read is None:
        return None
    try:
        result: Document = read(document)
    except (Irregular, RejectedError):
        return None
    return result


@cache
def _compile_kind(kind_name: str) -> Read | None:
    schema = find_kind_schema(kind_name)
    return None if schema is None else _compile_object(schema.name)


@cache
def _compile_object(type_name: str) -> Read:
    """Fields are compiled when the first object comes: types may contain themselves."""
    schema, steps = find_schema(type_name), dict[str, _Step]()

    def read_object(document: Any) -> Document:
        if type(document) is not dict:
            raise Irregular
        if not steps:
            steps.update(_compile_steps(schema))
        result: Document = {}
        for name, value in document.items():
            step = steps.get(name)
            if step is None:
                raise Irregular
            plain, read, keeps_empty = step
            if type(value) is plain:
                result[name] = value
            elif value is not None:
                value = read(value)
                if value or keeps_empty:
                    result[name] = value
        return result

    return read_object


def _compile_steps(schema: ObjectSchema) -> dict[str, _Step]:
    return {
        name: _Step(
            _find_plain(known.type),
            _compile(known.type),
            known.required or not isinstance(known.type, ListOf | MapOf),
        )
        for name, known in schema.fields.items()
    }


def _compile(kind: FieldType) -> Read:
    match kind:
        case Scalar():
            return SCALAR_READERS[kind]
        case Reference(name):
            return _compile_object(name)
        case ListOf(item):
            return _compile_list(_compile(item), _find_plain(item))
        case MapOf(item):
            return _compile_map(_compile(item), _find_plain(item))
        case _:
            assert_never(kind)


def _find_plain(kind: FieldType) -> type | None:
    return _PLAIN_TYPES.get(kind) if isinstance(kind, Scalar) else None


def _compile_list(read: Read, plain: type | None) -> Read:
    def read_list(values: Any) -> list[Any]:
        if type(values) is not list:
            raise Irregular
        result = []
        for value in values:
            if type(value) is plain:
                result.append(value)
            elif value is None:
                raise Irregular
            else:
                result.append(read(value))
        return result

    return read_list


def _compile_map(read: Read, plain: type | None) -> Read:
    def read_map(values: Any) -> Document:
        if type(values) is not dict:
            raise Irregular
        result: Document = {}
        for key, value in values.items():
            if type(value) is plain:
                result[key] = value
            elif value is None:
                raise Irregular
            else:
                result[key] = read(value)
        return result

    return read_map
