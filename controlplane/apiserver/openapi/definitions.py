"""The schemas of all types as OpenAPI says them.

Pure. Called for both versions of the document, which differ in where references point and how they are
written. Patch strategies and group-version-kinds travel as Kubernetes' own extensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol, assert_never

from controlplane.apiserver.openapi.merge_keys import find_patch_strategy
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

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_LIST_META: Final = f"{_META}ListMeta"
DELETE_OPTIONS: Final = f"{_META}DeleteOptions"
STATUS: Final = f"{_META}Status"
GROUP_VERSION_KIND: Final = "x-kubernetes-group-version-kind"

_NAMED_SCALARS: Final[Mapping[Scalar, tuple[str, Document]]] = MappingProxyType(
    {
        Scalar.TIME: (f"{_META}Time", {"type": "string", "format": "date-time"}),
        Scalar.MICRO_TIME: (f"{_META}MicroTime", {"type": "string", "format": "date-time"}),
        Scalar.QUANTITY: ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"type": "string"}),
        Scalar.INT_OR_STRING: (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            {"type": "string", "format": "int-or-string"},
        ),
    }
)
_PLAIN_SCALARS: Final[Mapping[Scalar, Document]] = MappingProxyType(
    {
        Scalar.STRING: {"type": "string"},
        Scalar.INTEGER: {"type": "integer", "format": "int64"},
        Scalar.BOOLEAN: {"type": "boolean"},
        Scalar.NUMBER: {"type": "number", "format": "double"},
        Scalar.BYTES: {"type": "string", "format": "byte"},
        Scalar.OBJECT: {"type": "object"},
    }
)


class ServedSubresource(Protocol):
    """What the documents need to know of a subresource; group, version and kind are those of its document."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def verbs(self) -> tuple[str, ...]: ...


class ServedKind(Protocol):
    """What the documents need to know of a kind; a row of the API server's table of kinds is one."""

    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def namespaced(self) -> bool: ...
    @property
    def subresources(self) -> Iterable[ServedSubresource]: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where references point, and whether one may stand beside other keys (it may not in version 3)."""

    prefix: str
    wraps_references: bool

    def reference(self, name: str) -> Document:
        reference: Document = {"$ref": f"{self.prefix}{name}"}
        return {"allOf": [reference]} if self.wraps_references else reference


VERSION_2: Final = Dialect("#/definitions/", wraps_references=False)
VERSION_3: Final = Dialect("#/components/schemas/", wraps_references=True)


def schema_name(kind: str) -> str:
    """The full name of a kind's type; a kind without schema is called by its kind alone."""
    schema = find_kind_schema(kind)
    return schema.name if schema else kind


def list_schema_name(kind: str) -> str:
    return f"{schema_name(kind)}List"


def build_definitions(kinds: Iterable[ServedKind], dialect: Dialect) -> dict[str, Document]:
    """The schemas of the kinds, of their lists, and of everything they refer to, by name."""
    definitions: dict[str, Document] = {}
    waiting = [_LIST_META, DELETE_OPTIONS, STATUS]
    marks: dict[str, list[Document]] = {}
    for kind in kinds:
        waiting.append(_define_list(definitions, kind, dialect))
        waiting.extend(schema_name(item.kind) for item in kind.subresources if find_kind_schema(item.kind))
        marks.setdefault(schema_name(kind.kind), []).append(_mark(kind))
        for item in kind.subresources:
            if _mark(item) not in marks.setdefault(schema_name(item.kind), []):
                marks[schema_name(item.kind)].append(_mark(item))
    while waiting:
        name = waiting.pop()
        if name not in definitions:
            definitions[name] = _define(name, dialect)
            waiting.extend(_list_references(name))
    for name, holders in marks.items():
        if name in definitions:
            definitions[name][GROUP_VERSION_KIND] = holders
    return dict(sorted(definitions.items()))


def _mark(holder: ServedKind | ServedSubresource) -> Document:
    return {"group": holder.group, "kind": holder.kind, "version": holder.version}


def _define_list(definitions: dict[str, Document], kind: ServedKind, dialect: Dialect) -> str:
    """Adds a kind's list, and gives the name of its items' type."""
    name = schema_name(kind.kind)
    definitions[list_schema_name(kind.kind)] = {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": dialect.reference(name)},
            "kind": {"type": "string"},
            "metadata": dialect.reference(_LIST_META),
        },
        GROUP_VERSION_KIND: [{"group": kind.group, "kind": f"{kind.kind}List", "version": kind.version}],
    }
    return name


def _define(name: str, dialect: Dialect) -> Document:
    for scalar_name, definition in _NAMED_SCALARS.values():
        if name == scalar_name:
            return dict(definition)
    if "." not in name:
        return {"type": "object"}
    schema = find_schema(name)
    definition = {
        "type": "object",
        "properties": {field.name: _render_field(schema, field, dialect) for field in _sorted_fields(schema)},
    }
    required = [field.name for field in _sorted_fields(schema) if field.required]
    return {**definition, "required": required} if required else definition


def _sorted_fields(schema: ObjectSchema) -> list[Field]:
    return [schema.fields[name] for name in sorted(schema.fields)]


def _render_field(schema: ObjectSchema, field: Field, dialect: Dialect) -> Document:
    rendered = _render_type(field.type, dialect)
    strategy = find_patch_strategy(schema.name, field.name)
    if strategy is not None:
        rendered["x-kubernetes-patch-strategy"] = str(strategy)
        if strategy.merge_key:
            rendered["x-kubernetes-patch-merge-key"] = strategy.merge_key
    return rendered


def _render_type(field_type: FieldType, dialect: Dialect) -> Document:
    match field_type:
        case Scalar() if field_type in _NAMED_SCALARS:
            return dialect.reference(_NAMED_SCALARS[field_type][0])
        case Scalar():
            return dict(_PLAIN_SCALARS[field_type])
        case Reference(name):
            return dialect.reference(name)
        case ListOf(item):
            return {"type": "array", "items": _render_type(item, dialect)}
        case MapOf(item):
            return {"type": "object", "additionalProperties": _render_type(item, dialect)}
        case _:
            assert_never(field_type)


def _list_references(name: str) -> Iterator[str]:
    """The types that a type's fields refer to."""
    if "." not in name or any(name == scalar_name for scalar_name, _ in _NAMED_SCALARS.values()):
        return
    for field in find_schema(name).fields.values():
        kind: Any = field.type
        while isinstance(kind, ListOf | MapOf):
            kind = kind.item
        if isinstance(kind, Reference):
            yield kind.name
        elif kind in _NAMED_SCALARS:
            yield _NAMED_SCALARS[kind][0]
