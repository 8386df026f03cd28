"""$setElementOrder: the order of a merged list.

Pure; called by the strategic merge patch. The elements that the directive names come in its order; the
others, which only the server has, keep their place relative to those they stood with before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from controlplane.apiserver.patch.errors import PatchError

Key = Callable[[Any], Any]


def require_order(given: Sequence[Any], order: Sequence[Any], merge_key: str, path: str) -> None:
    """Raises PatchError unless the patch's elements come in the order that the directive lists."""
    key, wanted = _key_reader(merge_key, path), [_order_key(item, merge_key, path) for item in order]
    kept = [item for item in given if not (isinstance(item, dict) and "$patch" in item)]
    positions = [wanted.index(key(item)) if key(item) in wanted else -1 for item in kept]
    if -1 in positions or positions != sorted(positions):
        raise PatchError("the order in the patch's list doesn't match its $setElementOrder list", path)


def order_elements(
    merged: Sequence[Any], before: Sequence[Any], order: Sequence[Any], merge_key: str, path: str
) -> list[Any]:
    """The merged elements in the directive's order, those it doesn't name where they stood before."""
    key = _key_reader(merge_key, path)
    wanted = [_order_key(item, merge_key, path) for item in order]
    stood = [key(item) for item in before]
    keyed = [(key(item), item) for item in merged]
    ranked = [(wanted.index(known), item) for known, item in keyed if known in wanted]
    named = [item for _, item in sorted(ranked, key=itemgetter(0))]
    others = [item for known, item in keyed if known not in wanted]
    return _interleave(others, named, key, stood)


def _interleave(others: list[Any], named: list[Any], key: Key, stood: Sequence[Any]) -> list[Any]:
    result: list[Any] = []
    while others and named:
        stood_first = (
            key(others[0]) in stood
            and key(named[0]) in stood
            and stood.index(key(others[0])) < stood.index(key(named[0]))
        )
        result.append((others if stood_first else named).pop(0))
    return result + others + named


def _key_reader(merge_key: str, path: str) -> Key:
    def read(item: Any) -> Any:
        return _order_key(item, merge_key, path)

    return read


def _order_key(item: Any, merge_key: str, path: str) -> Any:
    """What an element is known by: its merge key's value, or itself in a list of plain values."""
    if isinstance(item, dict) != bool(merge_key):
        raise PatchError("the elements of this list and of its $setElementOrder list don't match", path)
    if not merge_key:
        return item
    if item.get(merge_key) is None:
        raise PatchError(f"an element lacks its merge key {merge_key}", path)
    return item[merge_key]
