"""Endpoints keep their places, so that their numbers in the rules stay."""

from __future__ import annotations

import pytest

from netrules.services import Backend, keep_order


@pytest.mark.parametrize(
    ("previous", "wanted", "ordered"),
    [
        ("abc", "abc", "abc"),
        ("abc", "cba", "abc"),
        ("abc", "ab", "ab"),
        ("abc", "bc", "cb"),
        ("abc", "", ""),
        ("", "abc", "abc"),
        ("abc", "axc", "axc"),
        ("abc", "abcd", "abcd"),
        ("abcde", "be", "eb"),
        ("abc", "xyz", "xyz"),
        ("ab", "aab", "ab"),
    ],
)
def test_order(previous: str, wanted: str, ordered: str) -> None:
    def backends(names: str) -> tuple[Backend, ...]:
        return tuple(Backend(name, 80) for name in names)

    assert keep_order(backends(previous), backends(wanted)) == backends(ordered)
