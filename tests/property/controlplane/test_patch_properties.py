"""Patches against their rules: idempotent, nothing given is changed, anything is applied or refused."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.patch import (
    PatchError,
    apply_json_patch,
    apply_merge_patch,
    apply_strategic_merge_patch,
)

KEYS = st.sampled_from(["metadata", "spec", "containers", "name", "labels", "finalizers", "a", "$patch"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "delete", "replace"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
NAMES = st.sampled_from(["a", "b", "c", "d"])
CONTAINERS = st.dictionaries(NAMES, st.sampled_from(["x:1", "x:2"]), max_size=4).map(
    lambda images: [{"name": name, "image": image} for name, image in images.items()]
)
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": st.lists(KEYS | st.sampled_from(["0", "1", "-"]), max_size=3).map(
            lambda tokens: "".join(f"/{token}" for token in tokens)
        ),
        "from": st.sampled_from(["", "/spec", "/a/0", "/metadata/name"]),
        "value": VALUES,
    }
)


def pod(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"spec": {"containers": containers}}


@given(VALUES, VALUES)
def test_merge_patch_is_idempotent_and_leaves_no_null_it_brought(document: Any, patch: Any) -> None:
    before = copy.deepcopy((document, patch))
    once = apply_merge_patch(document, patch)
    assert apply_merge_patch(once, patch) == once
    assert (document, patch) == before


@given(CONTAINERS, CONTAINERS)
def test_strategic_merge_is_a_union_by_key(old: list[Any], new: list[Any]) -> None:
    merged = apply_strategic_merge_patch("Pod", pod(old), pod(new))["spec"]["containers"]
    images = {item["name"]: item["image"] for item in merged}
    assert images == {item["name"]: item["image"] for item in (*old, *new)}
    assert len(merged) == len(images)
    brought = {item["name"] for item in new}
    assert [item for item in merged if item["name"] in brought] == new
    assert [item for item in merged if item["name"] not in brought] == [
        item for item in old if item["name"] not in brought
    ]
    assert apply_strategic_merge_patch("Pod", pod(merged), pod(new)) == pod(merged)


@given(CONTAINERS, NAMES)
def test_deletion_removes_exactly_one_key(old: list[Any], name: str) -> None:
    patch = pod([{"name": name, "$patch": "delete"}])
    merged = apply_strategic_merge_patch("Pod", pod(old), patch)["spec"]["containers"]
    assert merged == [item for item in old if item["name"] != name]


@given(CONTAINERS, CONTAINERS.flatmap(st.permutations), st.data())
def test_element_order_is_the_patchs_for_what_it_names(old: list[Any], new: list[Any], data: Any) -> None:
    order = [{"name": item["name"]} for item in new]
    patch = {"spec": {"containers": list(new), "$setElementOrder/containers": order}}
    merged = apply_strategic_merge_patch("Pod", pod(old), patch)["spec"]["containers"]
    named = {item["name"] for item in new}
    assert [item["name"] for item in merged if item["name"] in named] == [item["name"] for item in new]
    assert [item for item in merged if item["name"] not in named] == [
        item for item in old if item["name"] not in named
    ]


@given(OBJECTS, OBJECTS)
def test_any_strategic_patch_is_applied_or_refused(document: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((document, patch))
    try:
        result = apply_strategic_merge_patch("Pod", document, patch)
    except PatchError:
        return
    finally:
        assert (document, patch) == before
    assert isinstance(result, dict)


@given(OBJECTS, st.lists(OPERATIONS, max_size=4))
def test_any_json_patch_is_applied_or_refused(document: dict[str, Any], patch: list[Any]) -> None:
    before = copy.deepcopy((document, patch))
    try:
        apply_json_patch(document, patch)
    except PatchError:
        return
    finally:
        assert (document, patch) == before


@given(OBJECTS, VALUES, VALUES)
def test_test_operation_holds_after_add(document: dict[str, Any], value: Any, other: Any) -> None:
    added = apply_json_patch(document, [{"op": "add", "path": "/new", "value": value}])
    assert apply_json_patch(added, [{"op": "test", "path": "/new", "value": value}]) == added
    removed = apply_json_patch(added, [{"op": "remove", "path": "/new"}])
    assert removed == {key: item for key, item in document.items() if key != "new"}


PLAIN_KEYS = KEYS.filter(lambda key: not key.startswith("$"))
PLAIN_PATCHES = st.dictionaries(
    PLAIN_KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_KEYS, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)


def with_idle_directives(patch: Any) -> Any:
    """The patch with a directive in every object that is about a field nobody has."""
    match patch:
        case dict():
            return {
                "$setElementOrder/nothing": [],
                **{key: with_idle_directives(value) for key, value in patch.items()},
            }
        case list():
            return [with_idle_directives(item) for item in patch]
        case _:
            return patch


def merge_or_refuse(document: Any, patch: Any) -> Any:
    try:
        return apply_strategic_merge_patch("Pod", document, patch)
    except PatchError:
        return PatchError


@given(PLAIN_PATCHES, PLAIN_PATCHES)
def test_a_patch_without_directives_merges_like_one_with_idle_ones(document: Any, patch: Any) -> None:
    assert merge_or_refuse(document, patch) == merge_or_refuse(document, with_idle_directives(patch))
