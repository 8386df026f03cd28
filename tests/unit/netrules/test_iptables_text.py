"""iptables' own words: rules survive the round trip, changes are small, strangers are recognised as such."""

from __future__ import annotations

import pytest

from netrules.iptables.layout import ChainLayout, build_chain_name
from netrules.iptables.text import parse_rule, parse_save, render_rule, render_transaction
from netrules.model import (
    AddressMatch,
    Chain,
    Drop,
    Family,
    Field,
    Jump,
    PortMatch,
    Protocol,
    Reject,
    Rule,
    SetMark,
    Unrecognised,
)
from netrules.services import RulesetSettings, build_ruleset
from netrules.transaction import AddChain, DeleteRule, InsertRule, Operation, Transaction
from tests.contract.rules.packet_cases import SCENES, build_intents


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
def test_every_rule_of_the_layout_reads_back_as_written(family: Family) -> None:
    scene = SCENES[family]
    ruleset = build_ruleset(ChainLayout(scene.settings), build_intents(scene))
    rules = [rule for t in ruleset.tables.values() for chain in t.chains.values() for rule in chain.rules]
    assert len(rules) > 40
    for rule in rules:
        assert parse_rule(render_rule(rule, family)) == rule


def test_rule_is_written_as_kube_proxy_writes_it() -> None:
    rule = Rule(
        (
            AddressMatch(Field.DESTINATION_ADDRESS, "10.96.0.1/32"),
            PortMatch(Protocol.TCP, 443),
            Jump("KUBE-SVC-NPX46M4PTMTKRN6Y"),
        ),
        "default/kubernetes:https cluster IP",
    )
    assert render_rule(rule, Family.IPV4) == (
        "-d 10.96.0.1/32 -p tcp -m tcp --dport 443 -m comment "
        '--comment "default/kubernetes:https cluster IP" -j KUBE-SVC-NPX46M4PTMTKRN6Y'
    )


def test_chain_names_are_kube_proxys() -> None:
    # The name every cluster's `iptables -t nat -L` shows for the kubernetes Service.
    name = build_chain_name("KUBE-SVC-", "default/kubernetes:https", "tcp")
    assert name == "KUBE-SVC-NPX46M4PTMTKRN6Y"


@pytest.mark.parametrize(
    "words",
    [
        "-i eth0 -j ACCEPT",
        "-p tcp -j ACCEPT",
        "-m limit --limit 3/min -j DROP",
        "-j MARK --set-xmark 0x4000/0xffffffff",
        "-j REJECT --reject-with icmp-host-prohibited",
        "! -p tcp -j DROP",
        "-j",
    ],
)
def test_what_we_would_not_write_is_unrecognised(words: str) -> None:
    assert parse_rule(words) == Rule((Unrecognised(words),))


def test_save_output_lists_empty_chains_and_rules() -> None:
    lines = (":PREROUTING ACCEPT [0:0]", ":MINE - [0:0]", "-A PREROUTING -j MINE", "-A PREROUTING -j DROP")
    text = "\n".join(("*nat", *lines, "COMMIT", ""))
    chains = parse_save(text)
    assert chains == {"PREROUTING": (Rule((Jump("MINE"),)), Rule((Drop(),))), "MINE": ()}


REJECT = Rule((PortMatch(Protocol.TCP, 80), Reject(reset=True)))
TRANSLATE = Rule((PortMatch(Protocol.TCP, 80), Jump("KUBE-SVC-A")))


def test_restore_input_declares_first_and_commits_each_table() -> None:
    text = render_transaction(
        Transaction(
            Family.IPV4,
            (
                InsertRule("filter", "KUBE-SERVICES", REJECT),
                InsertRule("nat", "KUBE-SERVICES", Rule((Jump("KUBE-MARK-MASQ"),))),
                AddChain("nat", Chain("KUBE-MARK-MASQ", (Rule((SetMark(0x4000),)),))),
            ),
        )
    )
    assert text.splitlines() == [
        "*filter",
        "-I KUBE-SERVICES 1 -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset",
        "COMMIT",
        "*nat",
        ":KUBE-MARK-MASQ - [0:0]",
        "-I KUBE-SERVICES 1 -j KUBE-MARK-MASQ",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "COMMIT",
    ]


def list_changes(*operations: Operation) -> list[str]:
    lines = render_transaction(Transaction(Family.IPV4, operations)).splitlines()
    return [" ".join(line.split()[:2]) for line in lines if line != "COMMIT"]


def test_a_service_is_rejected_before_its_translation_goes() -> None:
    assert list_changes(
        DeleteRule("nat", "KUBE-SERVICES", TRANSLATE), InsertRule("filter", "KUBE-SERVICES", REJECT)
    ) == ["*filter", "-I KUBE-SERVICES", "*nat", "-D KUBE-SERVICES"]


def test_a_service_is_translated_before_its_rejection_goes() -> None:
    assert list_changes(
        DeleteRule("filter", "KUBE-SERVICES", REJECT), InsertRule("nat", "KUBE-SERVICES", TRANSLATE)
    ) == ["*nat", "-I KUBE-SERVICES", "*filter", "-D KUBE-SERVICES"]


def test_a_second_cidr_changes_only_the_way_out() -> None:
    one = ChainLayout(RulesetSettings(Family.IPV4, ("10.244.0.0/16",))).skeleton()
    two = ChainLayout(RulesetSettings(Family.IPV4, ("10.244.0.0/16", "10.245.0.0/16"))).skeleton()
    changed = [n for n, c in two.tables["nat"].chains.items() if one.tables["nat"].chains[n] != c]
    assert changed == ["BERTH-POSTROUTING"]
