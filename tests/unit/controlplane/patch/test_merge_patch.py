"""Merge patch: the table in RFC 7386's appendix."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.patch import PatchError, apply_merge_patch

EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "patch", "wanted"), EXAMPLES)
def test_examples_of_the_rfc(document: Any, patch: Any, wanted: Any) -> None:
    assert apply_merge_patch(document, patch) == wanted


def test_absurd_depth_is_refused() -> None:
    patch: dict[str, Any] = {}
    for _ in range(500):
        patch = {"a": patch}
    with pytest.raises(PatchError, match="nested deeper"):
        apply_merge_patch({}, patch)
