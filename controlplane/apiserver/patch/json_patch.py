"""JSON Patch: a list of operations on paths.

Pure; the document given is never changed, and what an operation doesn't touch is shared with the result.
Follows RFC 6902 and, for the paths, RFC 6901.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, assert_never

from controlplane.apiserver.patch.errors import PatchError, PatchNotApplicable, require_depth

OPERATION_LIMIT: Final = 10_000


class Verb(Enum):
    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    MOVE = "move"
    COPY = "copy"
    TEST = "test"


Tokens = tuple[str, ...]
"""A path's reference tokens, unescaped; the whole document is the empty tuple."""


@dataclass(frozen=True, slots=True)
class Operation:
    verb: Verb
    path: Tokens
    source: Tokens = ()
    value: Any = None


def apply_json_patch(document: Any, patch: object) -> Any:
    """The document after all operations of the patch, in order.

    Raises PatchError for a malformed patch and PatchNotApplicable when an operation fails.
    """
    for operation in parse_json_patch(patch):
        document = _apply_operation(document, operation)
    return document


def parse_json_patch(patch: object) -> tuple[Operation, ...]:
    """The operations of a decoded JSON Patch; PatchError when it isn't one."""
    if not isinstance(patch, list):
        raise PatchError("a JSON patch must be a list of operations")
    if len(patch) > OPERATION_LIMIT:
        raise PatchError(f"the patch has {len(patch)} operations; at most {OPERATION_LIMIT} are allowed")
    return tuple(_parse_operation(item, f"[{index}]") for index, item in enumerate(patch))


def _parse_operation(item: object, place: str) -> Operation:
    if not isinstance(item, Mapping):
        raise PatchError("an operation must be an object", place)
    try:
        verb = Verb(item.get("op"))
    except ValueError as error:
        known = ", ".join(known.value for known in Verb)
        raise PatchError(f"unknown operation {item.get('op')!r}; use one of {known}", place) from error
    path = parse_pointer(item.get("path"), f"{place}.path")
    match verb:
        case Verb.MOVE | Verb.COPY:
            return Operation(verb, path, parse_pointer(item.get("from"), f"{place}.from"))
        case Verb.ADD | Verb.REPLACE | Verb.TEST:
            if "value" not in item:
                raise PatchError(f"operation {verb.value} needs a value", place)
            return Operation(verb, path, value=item["value"])
        case Verb.REMOVE:
            return Operation(verb, path)
        case _:
            assert_never(verb)


def parse_pointer(text: object, place: str = "") -> Tokens:
    """The tokens of a JSON Pointer; PatchError when it isn't one."""
    if not isinstance(text, str):
        raise PatchError("a path must be a string", place)
    if text and not text.startswith("/"):
        raise PatchError(f"path {text!r} must be empty or start with /", place)
    tokens = text.split("/")[1:]
    require_depth(len(tokens))
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def render_pointer(tokens: Tokens) -> str:
    """The JSON Pointer of these tokens."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def _apply_operation(document: Any, operation: Operation) -> Any:
    path = operation.path
    match operation.verb:
        case Verb.ADD:
            return _add(document, path, operation.value)
        case Verb.REMOVE:
            return _remove(document, path)
        case Verb.REPLACE:
            return _replace(document, path, operation.value)
        case Verb.MOVE:
            return _move(document, operation.source, path)
        case Verb.COPY:
            return _add(document, path, _read(document, operation.source))
        case Verb.TEST:
            if not is_equal(_read(document, path), operation.value):
                raise PatchNotApplicable("the value to be tested differs", render_pointer(path))
            return document
        case _:
            assert_never(operation.verb)


def _read(document: Any, path: Tokens) -> Any:
    for token in path:
        document = _child(document, token, path)
    return document


def _add(document: Any, path: Tokens, value: Any) -> Any:
    def insert(container: Any, token: str) -> Any:
        if isinstance(container, list):
            index = len(container) if token == "-" else _index(token, len(container), path)
            return [*container[:index], value, *container[index:]]
        return {**container, token: value}

    return _edit(document, path, insert, path) if path else value


def _remove(document: Any, path: Tokens) -> Any:
    def drop(container: Any, token: str) -> Any:
        _child(container, token, path)
        if isinstance(container, list):
            index = int(token)
            return [*container[:index], *container[index + 1 :]]
        return {key: value for key, value in container.items() if key != token}

    if not path:
        raise PatchNotApplicable("the whole document can't be removed")
    return _edit(document, path, drop, path)


def _replace(document: Any, path: Tokens, value: Any) -> Any:
    def put(container: Any, token: str) -> Any:
        _child(container, token, path)
        return _with_child(container, token, value)

    return _edit(document, path, put, path) if path else value


def _move(document: Any, source: Tokens, path: Tokens) -> Any:
    if path[: len(source)] == source and len(path) > len(source):
        raise PatchNotApplicable("a value can't be moved into itself", render_pointer(path))
    value = _read(document, source)
    return document if path == source else _add(_remove(document, source), path, value)


def _edit(node: Any, rest: Tokens, change: Callable[[Any, str], Any], path: Tokens) -> Any:
    """The node with `change` applied to the container of the path's last token; the way there is copied."""
    if not isinstance(node, dict | list):
        raise _missing(path)
    token, *others = rest
    if not others:
        return change(node, token)
    return _with_child(node, token, _edit(_child(node, token, path), tuple(others), change, path))


def _with_child(container: Any, token: str, value: Any) -> Any:
    if isinstance(container, list):
        index = int(token)
        return [*container[:index], value, *container[index + 1 :]]
    return {**container, token: value}


def _child(container: Any, token: str, path: Tokens) -> Any:
    if isinstance(container, list):
        return container[_index(token, len(container) - 1, path)]
    if not isinstance(container, dict) or token not in container:
        raise _missing(path)
    return container[token]


_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")


def _index(token: str, last: int, path: Tokens) -> int:
    if not _INDEX.fullmatch(token) or int(token) > last:
        raise _missing(path)
    return int(token)


def _missing(path: Tokens) -> PatchNotApplicable:
    return PatchNotApplicable("the document has nothing there", render_pointer(path))


def is_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: true is not 1, and 1 is 1.0."""
    if isinstance(left, str):
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_equal, left, right))
    return bool(left == right)
