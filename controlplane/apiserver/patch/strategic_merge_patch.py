"""Strategic merge patch: a merge patch that knows which lists are sets or maps.

Pure; the document given is never changed. Follows the strategic-merge-patch page of sig-api-machinery: the
directives $patch, $retainKeys, $deleteFromPrimitiveList and $setElementOrder, with merge keys from
`merge_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.openapi.merge_keys import find_patch_strategy
from controlplane.apiserver.openapi.schema import (
    Document,
    FieldType,
    ListOf,
    Reference,
    find_kind_schema,
    find_schema,
)
from controlplane.apiserver.patch.element_order import order_elements, require_order
from controlplane.apiserver.patch.errors import PatchError, require_depth
from controlplane.apiserver.patch.json_patch import is_equal

_PATCH: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"
_ELEMENT_ORDER: Final = "$setElementOrder/"


def apply_strategic_merge_patch(kind_name: str, document: Document, patch: object) -> Document:
    """The document with the patch merged in, lists by their kind's merge keys.

    Raises PatchError for a patch that is malformed, and for a kind without schema.
    """
    schema = find_kind_schema(kind_name)
    if schema is None:
        raise PatchError(f"kind {kind_name} has no merge keys; use a merge patch or a JSON patch instead")
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch must be an object")
    return _merge_object(document, patch, schema.name, "")


def _merge_object(document: Mapping[str, Any], patch: Document, type_name: str, path: str) -> Document:
    require_depth(path.count("."))
    match patch.get(_PATCH):
        case None:
            pass
        case "replace":
            return _merge_object({}, _without_directive(patch), type_name, path)
        case "delete":
            return {}
        case "merge":
            patch = _without_directive(patch)
        case unknown:
            raise PatchError(f"unknown directive $patch: {unknown!r}; use replace, delete or merge", path)
    merged = _retain_keys(document, patch, path)
    if any(key[:1] == "$" for key in patch):
        for name in _patched_fields(patch):
            _merge_field(merged, patch, name, type_name, f"{path}.{name}" if path else name)
        return merged
    for name, value in patch.items():
        # Without directives only lists and objects need more than to be put there: most fields are neither.
        if isinstance(value, dict | list):
            _merge_field(merged, patch, name, type_name, f"{path}.{name}" if path else name)
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def _without_directive(patch: Document) -> Document:
    return {key: value for key, value in patch.items() if key != _PATCH}


def _retain_keys(document: Mapping[str, Any], patch: Document, path: str) -> Document:
    if _RETAIN_KEYS not in patch:
        return dict(document)
    retained = _require_list(patch[_RETAIN_KEYS], f"{path}.{_RETAIN_KEYS}")
    strays = [key for key in _patched_fields(patch) if patch.get(key) is not None and key not in retained]
    if strays:
        raise PatchError(
            f"$retainKeys must name every field that the patch sets; {strays[0]} is missing", path
        )
    return {key: value for key, value in document.items() if key in retained}


def _patched_fields(patch: Document) -> tuple[str, ...]:
    """The fields a patch speaks of, be it by a value or by a directive about the field."""
    names = (_directed_field(key) for key in patch if key not in (_PATCH, _RETAIN_KEYS))
    return tuple(dict.fromkeys(names))


def _directed_field(key: str) -> str:
    return key.removeprefix(_DELETE_VALUES).removeprefix(_ELEMENT_ORDER)


def _merge_field(merged: Document, patch: Document, name: str, type_name: str, path: str) -> None:
    """Puts the field's new value into `merged`, or takes the field out."""
    current, strategy = merged.get(name), find_patch_strategy(type_name, name)
    deleted = _optional_list(patch, _DELETE_VALUES + name, path)
    order = _optional_list(patch, _ELEMENT_ORDER + name, path)
    if deleted and isinstance(current, list):
        current = merged[name] = [value for value in current if not _contains(deleted, value)]
    if name in patch and patch[name] is None:
        merged.pop(name, None)
        return
    field_type = _field_type(type_name, name)
    if strategy is None or not strategy.merge or not isinstance(patch.get(name, []), list):
        if name in patch:
            merged[name] = _merge_plain(current, patch[name], field_type, path)
        return
    if name not in patch and not isinstance(current, list):
        return
    before = current if isinstance(current, list) else []
    given = patch.get(name, [])
    if order:
        require_order(given, order, strategy.merge_key, path)
    after = _merge_list(before, given, field_type, strategy.merge_key, path)
    # Without the directive the patch's own order counts: what it brings comes before what it doesn't name.
    wanted = order or [item for item in given if not (isinstance(item, dict) and _PATCH in item)]
    merged[name] = order_elements(after, before, wanted, strategy.merge_key, path) if wanted else after


def _field_type(type_name: str, field_name: str) -> FieldType | None:
    if not type_name:
        return None
    known = find_schema(type_name).fields.get(field_name)
    return known.type if known else None


def _type_name(field_type: FieldType | None) -> str:
    return field_type.name if isinstance(field_type, Reference) else ""


def _merge_plain(current: Any, value: Any, field_type: FieldType | None, path: str) -> Any:
    """A value whose list, if it is one, is atomic: objects merge, everything else replaces."""
    if isinstance(value, dict):
        base = current if isinstance(current, dict) else {}
        return _merge_object(base, value, _type_name(field_type), path)
    if isinstance(value, list):
        item_type = field_type.item if isinstance(field_type, ListOf) else None
        return [_merge_plain(None, item, item_type, path) for item in value if item != {_PATCH: "replace"}]
    return value


def _merge_list(
    before: list[Any], given: list[Any], field_type: FieldType | None, merge_key: str, path: str
) -> list[Any]:
    if not merge_key:
        return _merge_values(before, given, path)
    item_type = _type_name(field_type.item) if isinstance(field_type, ListOf) else ""
    elements = [_require_element(item, path) for item in given]
    if any(element.get(_PATCH) == "replace" for element in elements):
        before = []
        elements = [element for element in elements if element.get(_PATCH) != "replace"]
    result = list(before)
    for element in elements:
        _merge_element(result, element, item_type, merge_key, path)
    return result


def _merge_values(before: Sequence[Any], given: Sequence[Any], path: str) -> list[Any]:
    """A list of plain values that is a set: what is new is appended."""
    result: list[Any] = []
    for value in (*before, *given):
        if isinstance(value, dict | list):
            raise PatchError(
                "this list holds plain values, and the patch has an object or a list in it", path
            )
        if not _contains(result, value):
            result.append(value)
    return result


def _merge_element(result: list[Any], element: Document, item_type: str, merge_key: str, path: str) -> None:
    if element.get(merge_key) is None:
        raise PatchError(f"an element of the patch lacks its merge key {merge_key}: {sorted(element)}", path)
    place = f"{path}[{element[merge_key]}]"
    positions = [
        index
        for index, item in enumerate(result)
        if isinstance(item, dict) and is_equal(item.get(merge_key), element[merge_key])
    ]
    if element.get(_PATCH) == "delete":
        for index in reversed(positions):
            del result[index]
    elif positions:
        result[positions[0]] = _merge_object(result[positions[0]], element, item_type, place)
    else:
        result.append(_merge_object({}, element, item_type, place))


def _require_element(item: Any, path: str) -> Document:
    if not isinstance(item, dict):
        raise PatchError("this list holds objects, and the patch has something else in it", path)
    return item


def _require_list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise PatchError("this directive must be a list", path)
    return value


def _optional_list(patch: Document, key: str, path: str) -> list[Any]:
    return _require_list(patch[key], f"{path} {key}") if key in patch else []


def _contains(values: Sequence[Any], value: Any) -> bool:
    return any(is_equal(candidate, value) for candidate in values)
