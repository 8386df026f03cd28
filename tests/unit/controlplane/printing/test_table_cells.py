"""Ages, selectors and short lists as kubectl shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.apiserver.printing.cells import (
    format_age,
    format_duration,
    format_few,
    format_labels,
    format_selector,
)

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE, "10m"),
        (3 * HOUR - 1, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + MINUTE, "3h1m"),
        (8 * HOUR, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (8 * DAY + HOUR, "8d"),
        (730 * DAY - 1, "729d"),
        (730 * DAY, "2y"),
        (731 * DAY, "2y1d"),
        (8 * 365 * DAY, "8y"),
        (9 * 365 * DAY + DAY, "9y"),
    ],
)
def test_duration(seconds: float, wanted: str) -> None:
    assert format_duration(seconds) == wanted


def test_age() -> None:
    now = datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert format_age("2026-01-01T00:00:00Z", now) == "90s"
    assert format_age("2026-01-01T00:00:00.500000Z", now) == "89s"
    assert format_age(None, now) == "<unknown>"


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        (None, "<none>"),
        ({}, "<none>"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "x", "operator": "In", "values": ["b", "a"]}]}, "x in (a,b)"),
        ({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["b"]}]}, "x notin (b)"),
        (
            {
                "matchLabels": {"m": "1"},
                "matchExpressions": [
                    {"key": "z", "operator": "Exists"},
                    {"key": "a", "operator": "DoesNotExist"},
                ],
            },
            "!a,m=1,z",
        ),
    ],
)
def test_selector(selector: Any, wanted: str) -> None:
    assert format_selector(selector) == wanted


def test_labels() -> None:
    assert format_labels({}) == "<none>"
    assert format_labels({"b": "2", "a": "1"}) == "a=1,b=2"


def test_few() -> None:
    assert format_few([]) == "<unset>"
    assert format_few(["a", "b", "c"]) == "a,b,c"
    assert format_few(["a", "b", "c", "d", "e"]) == "a,b,c + 2 more..."
