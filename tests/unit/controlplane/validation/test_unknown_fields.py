"""Unknown fields and wrong types, found in raw documents."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.validation import find_type_errors, find_unknown_fields

CASES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("Pod", {"spec": {"nodeName": "n"}}, ()),
    ("Pod", {"spec": {"foo": 1}}, ('unknown field "spec.foo"',)),
    ("Pod", {"spec": {"Containers": []}}, ('unknown field "spec.Containers"',)),
    (
        "Deployment",
        {"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"imag": "b"}]}}}, "extra": {}},
        ('unknown field "spec.template.spec.containers[1].imag"', 'unknown field "extra"'),
    ),
    ("Pod", {"metadata": {"labels": {"anything": "goes"}, "annotations": {"so": "here"}}}, ()),
    ("ConfigMap", {"data": {"any.key": "x"}}, ()),
    ("Pod", {"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:x": {}}}}]}}, ()),
    ("Pod", "no object", ()),
    ("Widget", {"spec": {"foo": 1}}, ()),
]


@pytest.mark.parametrize(("kind", "document", "wanted"), CASES)
def test_unknown_fields(kind: str, document: Any, wanted: tuple[str, ...]) -> None:
    assert find_unknown_fields(kind, document) == wanted


def test_all_type_errors_are_found_at_once() -> None:
    document = {"spec": {"containers": [{"name": 1, "ports": {}}, 7]}, "metadata": "x"}
    assert {cause.field for cause in find_type_errors("Pod", document)} == {
        "spec.containers[0].name",
        "spec.containers[0].ports",
        "spec.containers[1]",
        "metadata",
    }


@pytest.mark.parametrize("document", [None, [], "x", 1, True])
def test_a_document_that_is_no_object(document: Any) -> None:
    (cause,) = find_type_errors("Pod", document)
    assert cause.reason == "FieldValueTypeInvalid"
