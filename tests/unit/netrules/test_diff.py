"""The difference of two rulesets: empty when equal, small when alike, all when a table has another shape."""

from __future__ import annotations

from dataclasses import replace

from netrules.diff import diff_rulesets
from netrules.iptables.layout import ChainLayout
from netrules.model import Chain, Family, Jump, NamedSet, Rule, Ruleset, Table, Unrecognised
from netrules.nftables.layout import TABLE, FlatLayout
from netrules.services import build_ruleset
from netrules.transaction import (
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteRule,
    DeleteTable,
    InsertRule,
    RewriteChain,
    split_transaction,
)
from tests.contract.rules.packet_cases import SCENES, build_intents

SCENE = SCENES[Family.IPV4]
FLAT = build_ruleset(FlatLayout(SCENE.settings), build_intents(SCENE))
CHAINS = build_ruleset(ChainLayout(SCENE.settings), build_intents(SCENE))


def _with_table(ruleset: Ruleset, table: Table) -> Ruleset:
    return replace(ruleset, tables={**ruleset.tables, table.name: table})


def test_equal_rulesets_differ_by_nothing() -> None:
    assert not diff_rulesets(FLAT, FLAT)
    assert not diff_rulesets(CHAINS, CHAINS)


def test_an_element_too_many_is_removed_and_nothing_else() -> None:
    table = FLAT.tables[TABLE]
    elements = {**table.elements, "cluster-ips": {**table.elements["cluster-ips"], ("10.0.0.1",): None}}
    (operation,) = diff_rulesets(_with_table(FLAT, replace(table, elements=elements)), FLAT).operations
    assert isinstance(operation, DeleteElements)
    assert operation.entries == ((("10.0.0.1",), None),)


def test_an_edited_chain_is_rewritten() -> None:
    table = FLAT.tables[TABLE]
    edited = Chain("to-services", (Rule((Unrecognised("counter"),)),))
    observed = _with_table(FLAT, replace(table, chains={**table.chains, "to-services": edited}))
    assert diff_rulesets(observed, FLAT).operations == (RewriteChain(TABLE, table.chains["to-services"]),)


def test_a_set_of_another_type_replaces_the_table_in_one_transaction() -> None:
    table = FLAT.tables[TABLE]
    observed = _with_table(FLAT, replace(table, sets={**table.sets, "services": NamedSet("services", ())}))
    operations = diff_rulesets(observed, FLAT).operations
    assert operations[:2] == (DeleteTable(TABLE), AddTable(TABLE))


def test_a_strangers_chain_in_our_table_goes_with_the_table() -> None:
    table = FLAT.tables[TABLE]
    stranger = Chain("stranger", (Rule((Unrecognised("log"),)),))
    observed = _with_table(FLAT, replace(table, chains={**table.chains, "stranger": stranger}))
    assert diff_rulesets(observed, FLAT).operations[0] == DeleteTable(TABLE)


def test_base_chains_of_shared_tables_lose_and_gain_single_rules() -> None:
    nat = CHAINS.tables["nat"]
    ours = nat.chains["PREROUTING"].rules[0]
    old = Rule((Jump("KUBE-SERVICES"),), "an older version's")
    edited = replace(nat.chains["PREROUTING"], rules=(old, *nat.chains["PREROUTING"].rules[1:]))
    observed = _with_table(CHAINS, replace(nat, chains={**nat.chains, "PREROUTING": edited}))
    assert diff_rulesets(observed, CHAINS).operations == (
        DeleteRule("nat", "PREROUTING", old),
        InsertRule("nat", "PREROUTING", ours),
    )


def test_nothing_wanted_removes_our_chains_but_not_the_tables() -> None:
    operations = diff_rulesets(CHAINS, Ruleset(Family.IPV4)).operations
    assert {type(operation) for operation in operations} == {DeleteRule, DeleteChain}
    hooks = {o.chain for o in operations if isinstance(o, DeleteChain)}
    assert not hooks & {"PREROUTING", "OUTPUT", "POSTROUTING", "INPUT", "FORWARD"}


def test_a_rule_of_ours_twice_is_removed_once() -> None:
    nat = CHAINS.tables["nat"]
    twice = replace(nat.chains["OUTPUT"], rules=(nat.chains["OUTPUT"].rules[0], *nat.chains["OUTPUT"].rules))
    observed = _with_table(CHAINS, replace(nat, chains={**nat.chains, "OUTPUT": twice}))
    assert diff_rulesets(observed, CHAINS).operations == (DeleteRule("nat", "OUTPUT", twice.rules[0]),)


def test_split_keeps_all_operations_in_bounded_parts() -> None:
    whole = diff_rulesets(Ruleset(Family.IPV4), FLAT)
    parts = list(split_transaction(whole, 10))
    assert len(parts) > 3
    assert sum(part.size for part in parts) == whole.size
    assert all(part.size <= 10 for part in parts)
