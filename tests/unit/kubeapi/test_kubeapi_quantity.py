from __future__ import annotations

import pytest

from kubeapi.quantity import Quantity, QuantityError, QuantityFormat, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "canonical", "nanos"),
    [
        ("0", "0", 0),
        ("100m", "100m", 10**8),
        ("0.1", "100m", 10**8),
        ("1000m", "1", 10**9),
        ("1.5", "1500m", 15 * 10**8),
        (".5", "500m", 5 * 10**8),
        ("5.", "5", 5 * 10**9),
        ("-250m", "-250m", -25 * 10**7),
        ("+2k", "2k", 2000 * 10**9),
        ("1500M", "1500M", 15 * 10**17),
        ("1000M", "1G", 10**18),
        ("1Ki", "1Ki", 1024 * 10**9),
        ("1.5Gi", "1536Mi", 1536 * 2**20 * 10**9),
        ("2048Mi", "2Gi", 2**31 * 10**9),
        ("0.5Ki", "512", 512 * 10**9),
        ("0.1Ki", "102400m", 1024 * 10**8),
        ("1E", "1E", 10**27),
        ("1e3", "1e3", 10**12),
        ("1E3", "1e3", 10**12),
        ("12e-1", "1200e-3", 12 * 10**8),
        ("1n", "1n", 1),
        ("0.1n", "1n", 1),
        ("1u", "1u", 1000),
        ("00012", "12", 12 * 10**9),
        (3, "3", 3 * 10**9),
        (0.25, "250m", 25 * 10**7),
        ("9e99", "9223372036854775807", (2**63 - 1) * 10**9),
        ("1e-99999999", "1e-9", 1),
        ("0e999999", "0", 0),
    ],
)
def test_text_to_value_and_back(text: str | int | float, canonical: str, nanos: int) -> None:
    quantity = parse_quantity(text)
    assert (quantity.nanos, format_quantity(quantity)) == (nanos, canonical)


@pytest.mark.parametrize(
    "text", ["", " ", ".", "-", "1 Gi", "1gi", "1K", "1e", "ke3", "1.2.3", "0x1", "1KiB", "1" * 200, "¹"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(QuantityError, match="is not a quantity"):
        parse_quantity(text)


def test_rounds_up_to_what_was_asked_for() -> None:
    assert parse_quantity("1500u").millis() == 2
    assert parse_quantity("100m").units() == 1
    assert parse_quantity("-1500m").units() == -1


def test_sums_and_comparisons_are_exact() -> None:
    assert str(parse_quantity("0.1") + parse_quantity("0.2")) == "300m"
    assert str(parse_quantity("1Gi") - parse_quantity("512Mi")) == "512Mi"
    assert str(Quantity(0) + parse_quantity("1Gi")) == "1Gi"
    assert parse_quantity("1024Mi") == parse_quantity("1Gi") == parse_quantity("1073741824")
    assert parse_quantity("1G") < parse_quantity("1Gi")
    assert str(-parse_quantity("2")) == "-2"
    assert not parse_quantity("0m")


def test_from_numbers() -> None:
    assert str(Quantity.from_units(2**30, QuantityFormat.BINARY_SI)) == "1Gi"
    assert str(Quantity.from_millis(1500)) == "1500m"
