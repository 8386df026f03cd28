"""Which of two resource versions of an object came later."""

from __future__ import annotations

import pytest

from kubeapi.meta import is_newer_version


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("9", "9", False),
        ("1", "", True),
        ("", "1", False),
        ("", "", False),
        ("b", "a", True),
        ("a", "a", False),
    ],
)
def test_versions_are_compared_as_numbers(one: str, other: str, expected: bool) -> None:
    assert is_newer_version(one, other) is expected
