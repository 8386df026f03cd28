"""Whatever changes in whatever order: transactions lead to the wanted rules, and then nothing is left."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netrules.diff import diff_rulesets
from netrules.iptables.layout import ChainLayout
from netrules.iptables.text import parse_rule, render_rule
from netrules.model import Family, Protocol, Ruleset
from netrules.nftables.layout import FlatLayout
from netrules.services import Backend, Intent, Layout, RulesetSettings, ServiceIntent
from netrules.tracker import Tracker
from netrules.transaction import Transaction
from tests.contract.rules.ruleset_machine import apply_transaction

SETTINGS = RulesetSettings(Family.IPV4, ("10.244.0.0/16",))
LAYOUTS: Mapping[str, Layout] = {"flat": FlatLayout(SETTINGS), "chains": ChainLayout(SETTINGS)}

backends = st.builds(
    Backend,
    address=st.sampled_from([f"10.244.1.{n}" for n in range(2, 9)]),
    port=st.sampled_from([8080, 8081]),
    local=st.just(True),
)
endpoint_lists = st.lists(backends, max_size=5, unique=True).map(tuple)


@st.composite
def services(draw: st.DrawFn, number: int) -> tuple[Intent, ...]:
    """One owner's wishes: no Service, or one with any features; external addresses may clash with others'."""
    if draw(st.booleans()) and draw(st.booleans()):
        return ()
    return (
        ServiceIntent(
            name=f"default/s{number}",
            protocol=draw(st.sampled_from([Protocol.TCP, Protocol.UDP])),
            port=draw(st.sampled_from([80, 443])),
            cluster_addresses=(f"10.96.0.{number}",),
            node_port=draw(st.sampled_from([0, 30000 + number])),
            external_addresses=draw(st.sampled_from([(), ("203.0.113.1",), ("203.0.113.1", "203.0.113.2")])),
            endpoints=draw(endpoint_lists),
            external_endpoints=draw(st.none() | endpoint_lists),
            preserve_client=draw(st.booleans()),
        ),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, tuple[Intent, ...], bool]]:
    """(owner, what it wants now, whether the rules are brought up to date after this)"""
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        number = draw(st.integers(1, 4))
        steps.append((f"s{number}", draw(services(number)), draw(st.booleans())))
    return steps


@pytest.mark.parametrize("name", list(LAYOUTS))
@settings(max_examples=60, deadline=None)
@given(history=histories())
def test_transactions_lead_to_the_wanted_ruleset(
    name: str, history: list[tuple[str, tuple[Intent, ...], bool]]
) -> None:
    layout = LAYOUTS[name]
    tracker = Tracker(layout)
    kernel = apply_transaction(Ruleset(Family.IPV4), diff_rulesets(Ruleset(Family.IPV4), layout.skeleton()))
    for owner, intents, catch_up in history:
        tracker.set_intents(owner, intents)
        if catch_up:
            kernel = apply_transaction(kernel, tracker.take_transaction())
            assert not diff_rulesets(kernel, tracker.ruleset())
    kernel = apply_transaction(kernel, tracker.take_transaction())
    assert not diff_rulesets(kernel, tracker.ruleset())
    assert not tracker.take_transaction()


@pytest.mark.parametrize("name", list(LAYOUTS))
@settings(max_examples=40, deadline=None)
@given(old=histories(), new=histories())
def test_difference_applied_is_what_was_wanted(
    name: str,
    old: list[tuple[str, tuple[Intent, ...], bool]],
    new: list[tuple[str, tuple[Intent, ...], bool]],
) -> None:
    rulesets = []
    for history in (old, new):
        tracker = Tracker(LAYOUTS[name])
        for owner, intents, _ in history:
            tracker.set_intents(owner, intents)
        rulesets.append(tracker.ruleset())
    before, wanted = rulesets
    after = apply_transaction(before, diff_rulesets(before, wanted))
    assert diff_rulesets(after, wanted) == Transaction(Family.IPV4)


@settings(max_examples=60, deadline=None)
@given(history=histories())
def test_iptables_rules_survive_the_round_trip(history: list[tuple[str, tuple[Intent, ...], bool]]) -> None:
    tracker = Tracker(LAYOUTS["chains"])
    for owner, intents, _ in history:
        tracker.set_intents(owner, intents)
    for table in tracker.ruleset().tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                assert parse_rule(render_rule(rule, Family.IPV4)) == rule
