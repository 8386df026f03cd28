"""Ranges of user and group ids for pods with a user namespace of their own."""

from __future__ import annotations

import pytest

from agent.pods.security.user_ids import IDS_PER_POD, IDPool, IDRange, NoUserIDs, choose_pool, choose_range

OTHERS = "alice:100000:65536\n"


def line(first: int, pods: int) -> str:
    return f"kubelet:{first}:{pods * IDS_PER_POD}\n"


@pytest.mark.parametrize("text", ["", OTHERS])
def test_without_an_entry_the_ids_above_the_hosts_are_taken(text: str) -> None:
    assert choose_pool(text, text, 110) == IDPool(65536, 110)


def test_an_entry_says_where_the_ids_are() -> None:
    text = OTHERS + line(131072, 200)
    assert choose_pool(text, text, 110) == IDPool(131072, 200)


@pytest.mark.parametrize(
    ("subuid", "subgid", "what"),
    [
        (line(65536, 110), "", "the same single range"),
        (line(65536, 110), line(131072, 110), "the same single range"),
        (line(65536, 110) * 2, line(65536, 110) * 2, "the same single range"),
        (line(1000, 110), line(1000, 110), "must begin at a multiple"),
        (line(0, 110), line(0, 110), "must begin at a multiple"),
        ("kubelet:65536:100\n", "kubelet:65536:100\n", "must begin at a multiple"),
        (line(65536, 10), line(65536, 10), "has ids for 10 pods"),
        ("kubelet:a:b\n", "", "has no numbers"),
    ],
)
def test_an_entry_that_cant_be_used_is_named(subuid: str, subgid: str, what: str) -> None:
    with pytest.raises(NoUserIDs, match=what):
        choose_pool(subuid, subgid, 110)


def test_the_lowest_free_range_is_chosen() -> None:
    pool = IDPool(65536, 3)
    assert choose_range(pool, ()) == IDRange(65536)
    assert choose_range(pool, (IDRange(65536), IDRange(196608))) == IDRange(131072)
    assert choose_range(pool, tuple(pool)) is None


def test_a_range_of_another_pool_may_lie_across() -> None:
    assert choose_range(IDPool(65536, 3), (IDRange(65536 + 10),)) == IDRange(196608)
