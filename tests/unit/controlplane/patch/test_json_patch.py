"""JSON Patch: the examples of RFC 6902's appendix, and what malformed patches are told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.apiserver.patch import PatchError, PatchNotApplicable, apply_json_patch

APPLIES: list[tuple[str, Any, list[dict[str, Any]], Any]] = [
    ("A.1", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    (
        "A.2",
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ("A.3", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ("A.5", {"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        "A.10",
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ("A.11", {"foo": 1}, [{"op": "add", "path": "/baz", "value": 2, "xyz": 3}], {"foo": 1, "baz": 2}),
    ("A.14", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    (
        "A.16",
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc"]}],
        {"foo": ["bar", ["abc"]]},
    ),
    ("whole document", {"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ("add replaces", {"a": 1}, [{"op": "add", "path": "/a", "value": None}], {"a": None}),
    ("copy", {"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    (
        "label key with a slash",
        {"labels": {}},
        [{"op": "add", "path": "/labels/a~1b", "value": "c"}],
        {"labels": {"a/b": "c"}},
    ),
    ("no operation", {"a": 1}, [], {"a": 1}),
    ("onto itself", {"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
]

FAILS: list[tuple[str, Any, dict[str, Any]]] = [
    ("A.9 test fails", {"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}),
    ("A.12 no parent", {"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}),
    ("A.15 text is no number", {"~1": 10}, {"op": "test", "path": "/~01", "value": "10"}),
    ("true is not 1", {"a": 1}, {"op": "test", "path": "/a", "value": True}),
    ("remove what isn't there", {}, {"op": "remove", "path": "/a"}),
    ("replace what isn't there", {}, {"op": "replace", "path": "/a", "value": 1}),
    ("index past the end", {"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}),
    ("index with leading zero", {"a": [1, 2]}, {"op": "remove", "path": "/a/01"}),
    ("negative index", {"a": [1, 2]}, {"op": "remove", "path": "/a/-1"}),
    ("the end is not a value", {"a": [1]}, {"op": "replace", "path": "/a/-", "value": 2}),
    ("into itself", {"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b/c"}),
    ("the whole document", {"a": 1}, {"op": "remove", "path": ""}),
    ("below a scalar", {"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
]

MALFORMED: list[tuple[str, Any, str]] = [
    ("no list", {"op": "add"}, "must be a list"),
    ("no object", ["add"], "must be an object"),
    ("unknown op", [{"op": "spam", "path": "/a"}], "unknown operation 'spam'"),
    ("op of a wrong type", [{"op": ["add"], "path": "/a"}], "unknown operation"),
    ("no value", [{"op": "add", "path": "/a"}], "needs a value"),
    ("no path", [{"op": "remove"}], "must be a string"),
    ("path without slash", [{"op": "remove", "path": "a"}], "start with /"),
    ("no from", [{"op": "move", "path": "/a"}], "must be a string"),
    ("too deep", [{"op": "remove", "path": "/a" * 300}], "nested deeper"),
    ("too many", [{"op": "test", "path": "", "value": 1}] * 10_001, "at most 10000"),
]


@pytest.mark.parametrize(
    ("document", "patch", "wanted"), [row[1:] for row in APPLIES], ids=[row[0] for row in APPLIES]
)
def test_patch_applies(document: Any, patch: Any, wanted: Any) -> None:
    before = copy.deepcopy(document)
    assert apply_json_patch(document, patch) == wanted
    assert document == before


@pytest.mark.parametrize(("document", "operation"), [row[1:] for row in FAILS], ids=[row[0] for row in FAILS])
def test_operation_that_does_not_apply(document: Any, operation: Any) -> None:
    with pytest.raises(PatchNotApplicable):
        apply_json_patch(document, [operation])


@pytest.mark.parametrize(("patch", "says"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_patch(patch: Any, says: str) -> None:
    with pytest.raises(PatchError, match=says) as raised:
        apply_json_patch({}, patch)
    assert not isinstance(raised.value, PatchNotApplicable)


def test_error_names_the_path() -> None:
    with pytest.raises(PatchNotApplicable) as raised:
        apply_json_patch({"spec": {}}, [{"op": "remove", "path": "/spec/replicas"}])
    assert raised.value.path == "/spec/replicas"


def test_a_failing_operation_leaves_the_document_as_it_was() -> None:
    document = {"a": [1, 2]}
    with pytest.raises(PatchNotApplicable):
        apply_json_patch(document, [{"op": "remove", "path": "/a/0"}, {"op": "remove", "path": "/b"}])
    assert document == {"a": [1, 2]}
