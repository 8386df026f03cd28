"""The paths and operations of the served kinds, as OpenAPI says them.

Pure. Clients look here for what a server can do: kubectl asks whether PATCH knows `dryRun` and
`fieldValidation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from controlplane.apiserver.openapi.definitions import (
    DELETE_OPTIONS,
    GROUP_VERSION_KIND,
    STATUS,
    VERSION_3,
    Dialect,
    ServedKind,
    ServedSubresource,
    list_schema_name,
    schema_name,
)
from controlplane.apiserver.openapi.schema import Document

_JSON: Final = "application/json"
PATCH_TYPES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_BODY_TYPES: Final = (_JSON, "application/yaml")
_WRITE_PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS: Final = (
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "watch",
    "allowWatchBookmarks",
    "sendInitialEvents",
)
_DELETE_PARAMETERS: Final = ("dryRun", "gracePeriodSeconds", "propagationPolicy")
_PARAMETER_TYPES: Final = {
    "limit": "integer",
    "timeoutSeconds": "integer",
    "gracePeriodSeconds": "integer",
    "watch": "boolean",
    "allowWatchBookmarks": "boolean",
    "sendInitialEvents": "boolean",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path; `body` and `answer` are names of types."""

    method: str
    action: str
    parameters: tuple[str, ...] = ()
    body: str = ""
    answer: str = ""


def group_version_path(group: str, version: str) -> str:
    """The root of a group's version: api/v1, apis/apps/v1."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def build_paths(kinds: Iterable[ServedKind], dialect: Dialect) -> dict[str, Document]:
    """All paths of the kinds and their subresources."""
    paths: dict[str, Document] = {}
    for kind in kinds:
        root = f"/{group_version_path(kind.group, kind.version)}"
        scope = f"{root}/namespaces/{{namespace}}" if kind.namespaced else root
        item = f"{scope}/{kind.plural}/{{name}}"
        collection = list(_collection_operations(kind))
        paths[f"{scope}/{kind.plural}"] = _build_path(kind, f"{scope}/{kind.plural}", collection, dialect)
        if kind.namespaced:
            everywhere = [operation for operation in collection if operation.action == "list"]
            paths[f"{root}/{kind.plural}"] = _build_path(kind, f"{root}/{kind.plural}", everywhere, dialect)
        paths[item] = _build_path(kind, item, _item_operations(kind.kind), dialect)
        for subresource in kind.subresources:
            path = f"{item}/{subresource.name}"
            paths[path] = _build_path(subresource, path, _subresource_operations(subresource), dialect)
    return paths


def _collection_operations(kind: ServedKind) -> Iterator[Operation]:
    name = schema_name(kind.kind)
    yield Operation("get", "list", _LIST_PARAMETERS, answer=list_schema_name(kind.kind))
    yield Operation("post", "post", _WRITE_PARAMETERS, body=name, answer=name)
    yield Operation(
        "delete", "deletecollection", (*_DELETE_PARAMETERS, *_LIST_PARAMETERS), DELETE_OPTIONS, STATUS
    )


def _item_operations(kind: str) -> Iterator[Operation]:
    name = schema_name(kind)
    yield Operation("get", "get", ("resourceVersion",), answer=name)
    yield Operation("put", "put", _WRITE_PARAMETERS, body=name, answer=name)
    yield Operation("patch", "patch", (*_WRITE_PARAMETERS, "force"), answer=name)
    yield Operation("delete", "delete", _DELETE_PARAMETERS, body=DELETE_OPTIONS, answer=STATUS)


def _subresource_operations(subresource: ServedSubresource) -> Iterator[Operation]:
    name = schema_name(subresource.kind)
    known = name if "." in name else ""
    for operation in (
        Operation("get", "get", answer=known),
        Operation("put", "put", _WRITE_PARAMETERS, body=known, answer=known),
        Operation("patch", "patch", (*_WRITE_PARAMETERS, "force"), answer=known),
        Operation("post", "post", _WRITE_PARAMETERS, body=known, answer=known),
    ):
        verb = {"put": "update", "post": "create"}.get(operation.method, operation.method)
        if verb in subresource.verbs:
            yield operation


def _build_path(
    holder: ServedKind | ServedSubresource, path: str, operations: Iterable[Operation], dialect: Dialect
) -> Document:
    item: Document = {
        "parameters": [
            _build_parameter(name, "path", dialect) for name in ("namespace", "name") if f"{{{name}}}" in path
        ]
    }
    for operation in operations:
        item[operation.method] = _build_operation(holder, path, operation, dialect)
    return item if item["parameters"] else {key: item[key] for key in item if key != "parameters"}


def _build_operation(
    holder: ServedKind | ServedSubresource, path: str, operation: Operation, dialect: Dialect
) -> Document:
    words = (word.strip("{}").capitalize() for word in path.split("/")[2:])
    built: Document = {
        "operationId": operation.action + "".join("".join(word.split(".")) for word in words),
        "parameters": [_build_parameter(name, "query", dialect) for name in operation.parameters],
        "x-kubernetes-action": operation.action,
        GROUP_VERSION_KIND: {"group": holder.group, "kind": holder.kind, "version": holder.version},
    }
    if dialect is VERSION_3:
        _add_contents_3(built, operation, dialect)
    else:
        _add_contents_2(built, operation, dialect)
    return built


def _build_parameter(name: str, place: str, dialect: Dialect) -> Document:
    parameter: Document = {"name": name, "in": place}
    if place == "path":
        parameter["required"] = True
    kind = {"type": _PARAMETER_TYPES.get(name, "string")}
    return {**parameter, "schema": kind} if dialect is VERSION_3 else {**parameter, **kind}


def _add_contents_2(built: Document, operation: Operation, dialect: Dialect) -> None:
    built["consumes"] = list(PATCH_TYPES) if operation.method == "patch" else ["*/*"]
    built["produces"] = list(_BODY_TYPES)
    if operation.body or operation.method == "patch":
        schema = dialect.reference(operation.body) if operation.body else {"type": "object"}
        body = {"name": "body", "in": "body", "schema": schema}
        built["parameters"].append({**body, "required": True} if operation.method != "delete" else body)
    answer: Document = {"description": "OK"}
    if operation.answer:
        answer["schema"] = dialect.reference(operation.answer)
    built["responses"] = {"200": answer}


def _add_contents_3(built: Document, operation: Operation, dialect: Dialect) -> None:
    if operation.body or operation.method == "patch":
        schema = dialect.reference(operation.body) if operation.body else {"type": "object"}
        types = PATCH_TYPES if operation.method == "patch" else _BODY_TYPES
        built["requestBody"] = {
            "content": {name: {"schema": schema} for name in types},
            "required": operation.method != "delete",
        }
    answer: Document = {"description": "OK"}
    if operation.answer:
        answer["content"] = {name: {"schema": dialect.reference(operation.answer)} for name in _BODY_TYPES}
    built["responses"] = {"200": answer}
