"""A document as its schema sees it: leaves in canonical form, mismatches with their paths."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.openapi.conform import conform_document
from controlplane.apiserver.openapi.scalars import json_type_name

CASES: list[tuple[str, Any, Any]] = [
    ("canonical quantity", {"spec": {"overhead": {"memory": "1024Mi"}}},
     {"spec": {"overhead": {"memory": "1Gi"}}}),
    ("number as quantity", {"spec": {"overhead": {"cpu": 0.1}}}, {"spec": {"overhead": {"cpu": "100m"}}}),
    ("null field", {"spec": {"nodeName": None}}, {"spec": {}}),
    ("null in a list of objects", {"spec": {"containers": [None]}}, {"spec": {"containers": [{}]}}),
    ("required empty list stays", {"spec": {"containers": []}}, {"spec": {"containers": []}}),
    ("optional empty list goes", {"spec": {"volumes": []}}, {"spec": {}}),
    ("empty object stays", {"spec": {"securityContext": {}}}, {"spec": {"securityContext": {}}}),
    ("empty string stays", {"spec": {"nodeName": ""}}, {"spec": {"nodeName": ""}}),
    ("zero stays", {"spec": {"priority": 0}}, {"spec": {"priority": 0}}),
    ("time with a fraction", {"metadata": {"creationTimestamp": "2026-01-01T00:00:00.75Z"}},
     {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
    ("time as long as a canonical one", {"metadata": {"creationTimestamp": "20260101T000000+0000"}},
     {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
    ("time zone", {"metadata": {"creationTimestamp": "2026-01-01T02:00:00+02:00"}},
     {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "wanted"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_conforming_document(document: Any, wanted: Any) -> None:
    conformed = conform_document("Pod", document)
    assert conformed.document == wanted
    assert conformed.mismatches == ()


def test_what_does_not_conform_is_left_out_and_named() -> None:
    conformed = conform_document("Pod", {"spec": {"priority": "high", "nodeName": "n"}})
    assert conformed.document == {"spec": {"nodeName": "n"}}
    (mismatch,) = conformed.mismatches
    assert (mismatch.path, mismatch.value, mismatch.is_wrong_type) == ("spec.priority", "high", True)


def test_the_same_wrong_text_is_refused_every_time() -> None:
    wrong = {"metadata": {"creationTimestamp": "2026-13-01T00:00:00Z"}, "spec": {"overhead": {"cpu": "x"}}}
    for _ in range(2):
        paths = [mismatch.path for mismatch in conform_document("Pod", wrong).mismatches]
        assert paths == ["metadata.creationTimestamp", "spec.overhead[cpu]"]


def test_the_document_that_was_read_shares_nothing_that_defaulting_changes() -> None:
    sent: dict[str, Any] = {"spec": {"containers": [{"name": "a", "command": ["x"]}]}}
    read = conform_document("Pod", sent).document
    read["spec"]["containers"][0]["command"].append("y")
    read["spec"]["containers"].append({})
    assert sent == {"spec": {"containers": [{"name": "a", "command": ["x"]}]}}


def test_base64_is_brought_into_one_form() -> None:
    conformed = conform_document("Secret", {"data": {"a": "aGVs\nbG8="}})
    assert conformed.document == {"data": {"a": "aGVsbG8="}}


def test_an_integer_must_fit() -> None:
    (mismatch,) = conform_document("Pod", {"spec": {"priority": 2**63}}).mismatches
    assert not mismatch.is_wrong_type


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.5, "number"),
        ("", "string"),
        ([], "array"),
        ({}, "object"),
    ],
)
def test_json_type_names(value: Any, wanted: str) -> None:
    assert json_type_name(value) == wanted
