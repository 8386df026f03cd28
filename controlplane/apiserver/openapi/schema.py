"""The shape of every kind: fields, their types, which are required.

Pure; parses the generated table in `facts.py` once. Read by patching (merge keys hang on types), defaulting,
validation and the OpenAPI documents. Kinds are found by name; a kind that isn't in the table has no schema,
and its documents are taken as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from controlplane.apiserver.openapi.facts import FACTS

Document = dict[str, Any]
"""A decoded JSON object."""


class Scalar(Enum):
    """The leaves of the API; the value is the word used in the table."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    NUMBER = "number"
    TIME = "time"
    MICRO_TIME = "microtime"
    QUANTITY = "quantity"
    INT_OR_STRING = "int-or-string"
    BYTES = "bytes"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Reference:
    """Another type, by its full name."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    item: FieldType


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from any string."""

    item: FieldType


FieldType = Scalar | Reference | ListOf | MapOf


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: FieldType
    required: bool


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    """One type: its full name and its fields by JSON name."""

    name: str
    fields: Mapping[str, Field]

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]


_FIELD: Final = re.compile(r"(?P<name>[^=]+)=(?P<type>[^!]+)(?P<required>!?)")


@cache
def read_schemas() -> Mapping[str, ObjectSchema]:
    """All types by full name."""
    return MappingProxyType({schema.name: schema for schema in parse_facts(FACTS)})


@cache
def find_kind_schema(kind_name: str) -> ObjectSchema | None:
    """The schema of a served kind, or None when the table has none."""
    for schema in read_schemas().values():
        if schema.short_name == kind_name and {"apiVersion", "kind"} <= schema.fields.keys():
            return schema
    return None


def find_schema(name: str) -> ObjectSchema:
    """The type of that full name; KeyError when there is none, which a test of the table excludes."""
    return read_schemas()[name]


def parse_facts(text: str) -> Iterator[ObjectSchema]:
    """The types of a table in the form of `facts.py`."""
    package, name, tokens = "", "", list[str]()
    for line in text.splitlines():
        if line.startswith(" "):
            tokens.extend(line.split())
            continue
        if name:
            yield _build_schema(package, name, tokens)
        name, tokens = "", []
        if line.startswith("["):
            package = line.strip("[]")
        else:
            name = line
    if name:
        yield _build_schema(package, name, tokens)


def _build_schema(package: str, name: str, tokens: list[str]) -> ObjectSchema:
    fields = {field.name: field for field in (_parse_field(token, package) for token in tokens)}
    return ObjectSchema(f"{package}.{name}", MappingProxyType(fields))


def _parse_field(token: str, package: str) -> Field:
    match = _FIELD.fullmatch(token)
    if match is None:
        raise ValueError(f"the table of fields holds {token!r}, which is no name=type")
    return Field(match["name"], _parse_type(match["type"], package), bool(match["required"]))


def _parse_type(text: str, package: str) -> FieldType:
    if text.startswith("[]"):
        return ListOf(_parse_type(text[2:], package))
    if text.startswith("{}"):
        return MapOf(_parse_type(text[2:], package))
    if "." in text:
        return Reference(text)
    if text[0].isupper():
        return Reference(f"{package}.{text}")
    return Scalar(text)
