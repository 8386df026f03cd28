"""Two rulesets → one transaction that makes the first into the second.

Pure. For what was read from the kernel against what is wanted: at start, after a failure, and to heal. Small
differences make small transactions; a table whose sets or base chains have another shape is replaced as a
whole. The everyday path is `tracker`, which never compares whole rulesets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from netrules.model import Chain, Data, Key, NamedSet, Rule, Ruleset, Table, Unrecognised
from netrules.services import Element, OwnChain, Piece, SharedRule
from netrules.transaction import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteRule,
    DeleteTable,
    InsertRule,
    Operation,
    RewriteChain,
    Transaction,
)


def diff_rulesets(old: Ruleset, new: Ruleset) -> Transaction:
    """What makes `old` into `new`; empty when they are equal. Both are of one family."""
    operations: list[Operation] = []
    for name, table in new.tables.items():
        operations += _diff_table(old.tables.get(name), table)
    for name, table in old.tables.items():
        if name not in new.tables:
            empty = Table(table.family, name, shared=True)
            operations += _diff_shared_table(table, empty) if table.shared else (DeleteTable(name),)
    return Transaction(new.family, tuple(operations))


def _diff_table(old: Table | None, new: Table) -> Iterator[Operation]:
    if new.shared:
        yield from _diff_shared_table(old or Table(new.family, new.name, shared=True), new)
        return
    if old is None or not _can_be_mended(old, new):
        if old is not None:
            yield DeleteTable(old.name)
        yield AddTable(new.name)
        old = Table(new.family, new.name)
    for named in new.sets.values():
        if named.name not in old.sets:
            yield AddSet(new.name, named)
    yield from _removed_elements(old, new)
    yield from _diff_chains(old, new)
    yield from _added_elements(old, new)
    yield from (DeleteChain(new.name, name) for name in old.chains if name not in new.chains)


def _diff_shared_table(old: Table, new: Table) -> Iterator[Operation]:
    """In base chains only single rules come and go; the other chains named here are ours as a whole."""
    old_hooks, new_hooks = _base_rules(old), _base_rules(new)
    yield from (DeleteRule(new.name, chain, rule) for chain, rule in (old_hooks - new_hooks).elements())
    yield from _diff_chains(_without_base_chains(old), _without_base_chains(new))
    missing = list((new_hooks - old_hooks).elements())
    yield from (InsertRule(new.name, chain, rule) for chain, rule in reversed(missing))
    gone = (c.name for c in old.chains.values() if c.name not in new.chains and c.attachment is None)
    yield from (DeleteChain(new.name, name) for name in gone)


def _base_rules(table: Table) -> Counter[tuple[str, Rule]]:
    chains = (chain for chain in table.chains.values() if chain.attachment)
    return Counter((chain.name, rule) for chain in chains for rule in chain.rules)


def _without_base_chains(table: Table) -> Table:
    return replace(table, chains={name: c for name, c in table.chains.items() if c.attachment is None})


def _can_be_mended(old: Table, new: Table) -> bool:
    """Sets cannot change their type, nor base chains their hook, in place; strangers go with the table."""
    return (
        all(name in new.sets for name in old.sets)
        and all(old.sets.get(name, named) == named for name, named in new.sets.items())
        and all(
            chain.attachment == new.chains[name].attachment if name in new.chains else _is_removable(chain)
            for name, chain in old.chains.items()
        )
    )


def _is_removable(chain: Chain) -> bool:
    """A chain that nothing of ours jumps to by a rule: not hooked, and with no rule that we didn't write."""
    return chain.attachment is None and not any(
        isinstance(statement, Unrecognised) for rule in chain.rules for statement in rule.statements
    )


def _diff_chains(old: Table, new: Table) -> Iterator[Operation]:
    """In the order of the new table, which has every chain before the rules that name it."""
    for name, chain in new.chains.items():
        if name not in old.chains:
            yield AddChain(new.name, chain)
        elif old.chains[name].rules != chain.rules:
            yield RewriteChain(new.name, chain)


def _removed_elements(old: Table, new: Table) -> Iterator[Operation]:
    for name, named in new.sets.items():
        wanted = new.elements.get(name, {})
        gone = tuple(
            (k, d) for k, d in old.elements.get(name, {}).items() if k not in wanted or wanted[k] != d
        )
        if gone:
            yield DeleteElements(new.name, named, gone)


def _added_elements(old: Table, new: Table) -> Iterator[Operation]:
    for name, named in new.sets.items():
        there = old.elements.get(name, {})
        come = tuple((k, d) for k, d in new.elements.get(name, {}).items() if k not in there or there[k] != d)
        if come:
            yield AddElements(new.name, named, come)


def build_change(gone: Iterable[Piece], come: Iterable[Piece]) -> tuple[Operation, ...]:
    """The operations that take some pieces out of a ruleset and put others in.

    A chain in both is rewritten. Elements and rules go before they come, chains come before what names them
    and go after.
    """
    gone, come = tuple(gone), tuple(come)
    old_chains = _own_chains(gone)
    new_chains = _own_chains(come)
    return (
        *_element_operations(DeleteElements, gone),
        *(DeleteRule(p.table, p.chain, p.rule) for p in gone if isinstance(p, SharedRule)),
        *(
            RewriteChain(key[0], chain) if key in old_chains else AddChain(key[0], chain)
            for key, chain in new_chains.items()
        ),
        *(InsertRule(p.table, p.chain, p.rule) for p in come if isinstance(p, SharedRule)),
        *_element_operations(AddElements, come),
        *(DeleteChain(*key) for key in old_chains if key not in new_chains),
    )


def _own_chains(pieces: tuple[Piece, ...]) -> Mapping[tuple[str, str], Chain]:
    return {(piece.table, piece.chain.name): piece.chain for piece in pieces if isinstance(piece, OwnChain)}


def _element_operations(
    operation: type[AddElements] | type[DeleteElements], pieces: tuple[Piece, ...]
) -> Iterator[Operation]:
    grouped: dict[tuple[str, NamedSet], list[tuple[Key, Data]]] = {}
    for piece in pieces:
        if isinstance(piece, Element):
            grouped.setdefault((piece.table, piece.set), []).append((piece.key, piece.data))
    for (table, named), entries in grouped.items():
        yield operation(table, named, tuple(entries))
