from __future__ import annotations

import pytest

from kubeapi.meta import LabelSelector, LabelSelectorRequirement
from kubeapi.selectors import (
    EVERYTHING,
    FieldRequirement,
    SelectorError,
    build_equality_selector,
    build_label_selector,
    matches_fields,
    parse_field_selector,
    parse_label_selector,
)

WEB = {"app": "web", "tier": "front", "example.com/weight": "10", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        (" app = web , tier = front ", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("absent!=web", True),
        ("app in (web,db)", True),
        ("app in(db)", False),
        ("app notin (db, cache)", True),
        ("app notin (web)", False),
        ("absent notin (web)", True),
        ("app", True),
        ("absent", False),
        ("!absent", True),
        ("!app", False),
        ("empty=", True),
        ("app=", False),
        ("empty in (,a)", True),
        ("example.com/weight>9", True),
        ("example.com/weight<10", False),
        ("app>1", False),
        ("app=web,tier notin (back),!canary", True),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert parse_label_selector(text).matches(WEB) is matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("app=web,", "ends with a comma"),
        (",", "expected a label key"),
        ("app in web", r"expected '\('"),
        ("app in (web", r"'\)' is missing"),
        ("app web", "is no operator"),
        ("app=web=db", "expected ','"),
        ("=web", "expected a label key"),
        ("-app=web", "label key '-app'"),
        ("Example.com/app=web", "before the slash"),
        ("a/b/c", "before the slash"),
        ("app=we!b", "expected ','"),
        ("app=-web", "value '-web'"),
        ("app>many", "whole number"),
        ("a" * 64, "1 to 63"),
        ("!", "expected a label key"),
    ],
)
def test_what_is_no_label_selector(text: str, why: str) -> None:
    with pytest.raises(SelectorError, match=why):
        parse_label_selector(text)


def test_an_absent_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not build_label_selector(None).matches(WEB)
    assert build_label_selector(LabelSelector()).matches({})
    assert build_label_selector(LabelSelector()) == EVERYTHING


def test_selector_of_an_object() -> None:
    selector = build_label_selector(
        LabelSelector(
            match_labels={"app": "web"},
            match_expressions=(
                LabelSelectorRequirement(key="tier", operator="In", values=("front", "back")),
                LabelSelectorRequirement(key="canary", operator="DoesNotExist"),
            ),
        )
    )
    assert selector.matches(WEB)
    assert not selector.matches({**WEB, "canary": "yes"})
    assert str(selector) == "app=web,!canary,tier in (back,front)"


@pytest.mark.parametrize(
    ("operator", "values", "why"),
    [
        ("Equals", ("a",), "is no operator"),
        ("In", (), "at least one value"),
        ("Exists", ("a",), "takes no values"),
    ],
)
def test_wrong_expressions(operator: str, values: tuple[str, ...], why: str) -> None:
    wrong = LabelSelectorRequirement(key="app", operator=operator, values=values)
    with pytest.raises(SelectorError, match=why):
        build_label_selector(LabelSelector(match_expressions=(wrong,)))


def test_equality_selector_of_a_service() -> None:
    assert build_equality_selector({"app": "web"}).matches(WEB)
    assert not build_equality_selector({"app": "db"}).matches(WEB)


def test_field_selectors() -> None:
    assert parse_field_selector("spec.nodeName=n1,status.phase!=Failed") == (
        FieldRequirement("spec.nodeName", "n1"),
        FieldRequirement("status.phase", "Failed", equal=False),
    )
    assert parse_field_selector("") == ()
    assert parse_field_selector(r"metadata.name==a\,b\=c\\d") == (
        FieldRequirement("metadata.name", "a,b=c\\d"),
    )


def test_field_selectors_match() -> None:
    wanted = parse_field_selector("spec.nodeName=n1,status.phase!=Failed")
    assert matches_fields(wanted, {"spec.nodeName": "n1", "status.phase": "Running"})
    assert not matches_fields(wanted, {"spec.nodeName": "n1", "status.phase": "Failed"})
    assert not matches_fields(wanted, {"status.phase": "Running"})
    assert matches_fields(parse_field_selector("spec.nodeName="), {})


@pytest.mark.parametrize("text", ["spec.nodeName", "=n1", "a=b=c", "a=b\\", "a=b\\x"])
def test_what_is_no_field_selector(text: str) -> None:
    with pytest.raises(SelectorError, match="field selector"):
        parse_field_selector(text)
