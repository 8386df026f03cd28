"""Whatever a client sends: defaulting, validation and printing answer, and never raise."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.defaults import apply_defaults
from controlplane.apiserver.openapi.conform import conform_document, examine_document
from controlplane.apiserver.openapi.schema import (
    FieldType,
    ListOf,
    MapOf,
    ObjectSchema,
    Reference,
    Scalar,
    find_kind_schema,
    find_schema,
)
from controlplane.apiserver.printing import build_table
from controlplane.apiserver.validation import (
    find_broken_rules,
    find_type_errors,
    find_unknown_fields,
    validate_create,
    validate_update,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KIND_NAMES = (
    "Pod", "Service", "Deployment", "ReplicaSet", "ConfigMap", "Secret", "ServiceAccount", "Namespace",
    "Node", "EndpointSlice", "Endpoints", "Lease", "Event", "Binding", "Scale",
)  # fmt: skip
TEXTS = st.sampled_from(["", "a", "A b", "..", "10.0.0.1", "None", "Always", "100%", "a/b", "x" * 64, "ü\n"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
LEAVES: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.STRING: TEXTS,
    Scalar.INTEGER: st.sampled_from([-1, 0, 1, 80, 70_000, 2**40]),
    Scalar.BOOLEAN: st.booleans(),
    Scalar.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    Scalar.TIME: st.just("2026-01-01T00:00:00Z"),
    Scalar.MICRO_TIME: st.just("2026-01-01T00:00:00.000000Z"),
    Scalar.QUANTITY: st.sampled_from(["1", "100m", "1Gi", "-1", "0", 2, 0.5]),
    Scalar.INT_OR_STRING: st.integers(-1, 3) | TEXTS,
    Scalar.BYTES: st.sampled_from(["", "eA=="]),
    Scalar.OBJECT: st.dictionaries(TEXTS, TEXTS, max_size=1),
}
SELECTED_FIELDS = 4


def draw_value(draw: Any, kind: FieldType, depth: int) -> Any:
    """A value of the type, and now and then something else altogether."""
    if draw(st.integers(0, 60)) == 0:
        return draw(ANYTHING)
    match kind:
        case Scalar():
            return draw(LEAVES[kind])
        case Reference(name):
            return draw_object(draw, find_schema(name), depth + 1)
        case ListOf(item):
            return [draw_value(draw, item, depth) for _ in range(draw(st.integers(0, 2)))]
        case MapOf(item):
            return {draw(TEXTS): draw_value(draw, item, depth) for _ in range(draw(st.integers(0, 2)))}


def draw_object(draw: Any, schema: ObjectSchema, depth: int) -> dict[str, Any]:
    if depth > 6 or not schema.fields:
        return {}
    names = draw(st.lists(st.sampled_from(sorted(schema.fields)), max_size=SELECTED_FIELDS, unique=True))
    preferred = [name for name in ("metadata", "spec", "template", "containers") if name in schema.fields]
    return {name: draw_value(draw, schema.fields[name].type, depth) for name in (*preferred, *names)}


@st.composite
def documents(draw: Any) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(KIND_NAMES))
    schema = find_kind_schema(kind)
    assert schema is not None
    return kind, draw_object(draw, schema, 0)


@given(documents())
def test_defaults_and_validation_answer_whatever_comes(sample: tuple[str, dict[str, Any]]) -> None:
    kind, document = sample
    before = copy.deepcopy(document)
    find_unknown_fields(kind, document)
    defaulted = apply_defaults(kind, document)
    causes = validate_create(kind, defaulted)
    validate_update(kind, defaulted, {"metadata": {}})
    assert document == before
    assert all(cause.reason.startswith("FieldValue") and cause.message for cause in causes)
    if find_type_errors(kind, document):
        assert causes
    else:
        assert apply_defaults(kind, defaulted) == defaulted
        assert find_type_errors(kind, defaulted) == ()
        assert find_unknown_fields(kind, defaulted) == ()


@given(documents())
def test_a_fitting_document_is_read_as_a_careful_reader_reads_it(sample: tuple[str, dict[str, Any]]) -> None:
    kind, document = sample
    assert repr(conform_document(kind, document)) == repr(examine_document(kind, document))


@given(documents(), st.sampled_from(["", "status", "ephemeralcontainers", "resize"]))
def test_rules_need_no_second_look_at_the_types(sample: tuple[str, dict[str, Any]], subresource: str) -> None:
    kind, document = sample
    if find_type_errors(kind, document):
        return
    new, old = apply_defaults(kind, document), apply_defaults(kind, {**document, "spec": {}, "status": {}})
    assert find_broken_rules(kind, new) == validate_create(kind, new)
    assert find_broken_rules(kind, new, old, subresource) == validate_update(kind, new, old, subresource)


@given(documents())
def test_whatever_may_be_stored_can_be_shown(sample: tuple[str, dict[str, Any]]) -> None:
    kind, document = sample
    defaulted = apply_defaults(kind, document)
    if find_type_errors(kind, defaulted):
        return
    table = build_table(kind, [defaulted], NOW)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])


@given(st.sampled_from(KIND_NAMES), ANYTHING)
def test_a_document_that_is_anything_at_all(kind: str, document: Any) -> None:
    errors = find_type_errors(kind, document)
    assert isinstance(document, dict) or errors
    if isinstance(document, dict):
        validate_create(kind, apply_defaults(kind, document))
