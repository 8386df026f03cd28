"""A stand-in for the kernel: applies transactions to ruleset values, and is as strict as the kernel.

Pure, for tests. What the kernel refuses (adding what is there with other data, removing what isn't, leaving a
name dangling) raises AssertionError here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from netrules.iptables.layout import ATTACHMENTS
from netrules.model import (
    Chain,
    Data,
    DnatFromMap,
    Family,
    Goto,
    InSet,
    Jump,
    Key,
    NamedSet,
    Ruleset,
    Table,
    VerdictFromMap,
)
from netrules.transaction import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteRule,
    DeleteSet,
    DeleteTable,
    InsertRule,
    Operation,
    RewriteChain,
    Transaction,
)


@dataclass
class _Tables:
    tables: dict[str, Table] = field(default_factory=dict)
    chains: dict[str, dict[str, Chain]] = field(default_factory=dict)
    sets: dict[str, dict[str, NamedSet]] = field(default_factory=dict)
    elements: dict[str, dict[str, dict[Key, Data]]] = field(default_factory=dict)

    def add(self, table: Table) -> None:
        self.tables[table.name] = table
        self.chains[table.name] = dict(table.chains)
        self.sets[table.name] = dict(table.sets)
        self.elements[table.name] = {name: dict(found) for name, found in table.elements.items()}


def apply_transaction(ruleset: Ruleset, transaction: Transaction) -> Ruleset:
    """The ruleset after the transaction; shared rules in sorted order, as the iptables backend reads them."""
    state = _Tables()
    for table in ruleset.tables.values():
        state.add(table)
    for operation in transaction.operations:
        if operation.table not in state.tables:
            state.add(_new_table(ruleset.family, operation))
        _apply(state, operation)
    tables = {
        name: replace(table, chains=state.chains[name], sets=state.sets[name], elements=state.elements[name])
        for name, table in state.tables.items()
    }
    for table in tables.values():
        _check_names(table)
    return replace(ruleset, tables={name: _sorted_entries(table) for name, table in tables.items()})


def _new_table(family: Family, operation: Operation) -> Table:
    """A table of our own, or one of iptables', which is always there with its base chains."""
    if isinstance(operation, AddTable):
        return Table(family, operation.table)
    hooks = ATTACHMENTS[operation.table]
    return Table(
        family, operation.table, {name: Chain(name, (), at) for name, at in hooks.items()}, shared=True
    )


def _apply(state: _Tables, operation: Operation) -> None:
    chains, sets = state.chains[operation.table], state.sets[operation.table]
    elements = state.elements[operation.table]
    match operation:
        case AddTable():
            pass
        case DeleteTable(table=name):
            for part in (state.tables, state.chains, state.sets, state.elements):
                part.pop(name)
        case AddChain(chain=chain):
            assert chain.name not in chains
            chains[chain.name] = chain
        case RewriteChain(chain=chain):
            assert chain.name in chains
            chains[chain.name] = chain
        case DeleteChain(chain=name):
            del chains[name]
        case InsertRule(chain=name, rule=rule):
            chain = chains[name]
            chains[name] = replace(chain, rules=(rule, *chain.rules))
        case DeleteRule(chain=name, rule=rule):
            rules = list(chains[name].rules)
            rules.remove(rule)
            chains[name] = replace(chains[name], rules=tuple(rules))
        case AddSet(set=named):
            sets[named.name] = named
            elements[named.name] = {}
        case DeleteSet(set=name):
            del sets[name]
            del elements[name]
        case AddElements(set=named, entries=entries):
            for key, data in entries:
                assert elements[named.name].setdefault(key, data) == data
        case DeleteElements(set=named, entries=entries):
            for key, _ in entries:
                del elements[named.name][key]


def _check_names(table: Table) -> None:
    for name in _named_chains(table):
        assert name in table.chains, f"{name} is named but isn't there"
    for chain in table.chains.values():
        for rule in chain.rules:
            for statement in rule.statements:
                match statement:
                    case InSet(set=name) | DnatFromMap(map=name) | VerdictFromMap(map=name):
                        assert name in table.sets
                    case _:
                        pass


def _named_chains(table: Table) -> Iterator[str]:
    for chain in table.chains.values():
        for rule in chain.rules:
            for statement in rule.statements:
                if isinstance(statement, Jump | Goto):
                    yield statement.chain
    for entries in table.elements.values():
        for data in entries.values():
            if isinstance(data, Jump | Goto):
                yield data.chain


_ENTRY_CHAINS = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "BERTH-HOSTPORTS")


def _sorted_entries(table: Table) -> Table:
    chains = dict(table.chains)
    for name in _ENTRY_CHAINS:
        if chain := chains.get(name):
            tail = tuple(rule for rule in chain.rules if not rule.comment)
            entries = sorted((rule for rule in chain.rules if rule.comment), key=repr)
            chains[name] = replace(chain, rules=(*entries, *tail))
    return replace(table, chains=chains)
