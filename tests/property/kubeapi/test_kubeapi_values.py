"""Quantities and selectors: what is written is read back as the same value."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from kubeapi.quantity import Quantity, QuantityFormat, format_quantity, parse_quantity
from kubeapi.selectors import (
    LabelRequirement,
    Operator,
    Selector,
    build_label_requirement,
    parse_field_selector,
    parse_label_selector,
)

LIMIT = (2**63 - 1) * 10**9
NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?", fullmatch=True)
KEYS = NAMES | st.builds("{}/{}".format, st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True), NAMES)


@st.composite
def requirements(draw: st.DrawFn) -> LabelRequirement:
    operator = draw(st.sampled_from(Operator))
    match operator:
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            values: tuple[str, ...] = ()
        case Operator.IN | Operator.NOT_IN:
            values = tuple(draw(st.lists(NAMES | st.just(""), min_size=1, max_size=3)))
        case _:
            values = (str(draw(st.integers(0, 10**9))),)
    return build_label_requirement(draw(KEYS), operator, values)


@settings(deadline=None)
@given(st.integers(-LIMIT, LIMIT), st.sampled_from(QuantityFormat))
def test_any_amount_survives_its_text(nanos: int, format_: QuantityFormat) -> None:
    quantity = Quantity(nanos, format_)
    text = format_quantity(quantity)
    again = parse_quantity(text)
    assert again == quantity
    assert format_quantity(again) == text


@settings(deadline=None)
@given(
    st.integers(0, 10**12), st.integers(0, 6), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e2", "e-2"])
)
def test_the_value_is_exact(digits: int, places: int, suffix: str) -> None:
    factor = {
        "": Fraction(1),
        "m": Fraction(1, 1000),
        "k": Fraction(1000),
        "M": Fraction(10**6),
        "Ki": Fraction(1024),
        "Mi": Fraction(2**20),
        "e2": Fraction(100),
        "e-2": Fraction(1, 100),
    }[suffix]
    whole, fraction = divmod(digits, 10**places)
    text = f"{whole}.{fraction:0{places}d}{suffix}" if places else f"{whole}{suffix}"
    assert Fraction(parse_quantity(text).nanos, 10**9) == Fraction(digits, 10**places) * factor


@settings(deadline=None)
@given(st.lists(requirements(), max_size=4), st.dictionaries(KEYS, NAMES, max_size=4))
def test_a_selector_survives_its_text(wanted: list[LabelRequirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(wanted))
    again = parse_label_selector(str(selector))
    assert set(again.requirements) == set(selector.requirements)
    assert again.matches(labels) is selector.matches(labels)


@settings(deadline=None)
@given(st.from_regex(r"[a-z]+(\.[a-z]+)?", fullmatch=True), st.text(max_size=12), st.booleans())
def test_any_field_value_can_be_selected(path: str, value: str, equal: bool) -> None:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    (requirement,) = parse_field_selector(f"{path}{'=' if equal else '!='}{escaped}")
    assert (requirement.path, requirement.value, requirement.equal) == (path, value, equal)
    assert parse_field_selector(str(requirement)) == (requirement,)
