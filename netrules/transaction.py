"""A change of the kernel's rules as values: a list of operations that a backend applies in order, atomically.

Pure. Built by `diff` and `tracker`, run by the backends. Operations on one table name it; a backend may group
them by table. Order within a transaction is: what goes first, then what comes, each so that nothing is named
before it exists or removed while it is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netrules.model import Chain, Data, Family, Key, NamedSet, Rule


@dataclass(frozen=True, slots=True)
class AddTable:
    table: str


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Removes the table and all in it; it exists."""

    table: str


@dataclass(frozen=True, slots=True)
class AddChain:
    """Makes the chain with its rules."""

    table: str
    chain: Chain


@dataclass(frozen=True, slots=True)
class RewriteChain:
    """Replaces the rules of an existing chain."""

    table: str
    chain: Chain


@dataclass(frozen=True, slots=True)
class DeleteChain:
    table: str
    chain: str


@dataclass(frozen=True, slots=True)
class InsertRule:
    """Puts a rule at the head of an existing chain."""

    table: str
    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Removes the first rule equal to this one."""

    table: str
    chain: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class AddSet:
    table: str
    set: NamedSet


@dataclass(frozen=True, slots=True)
class DeleteSet:
    table: str
    set: str


Entries = tuple[tuple[Key, Data], ...]


@dataclass(frozen=True, slots=True)
class AddElements:
    table: str
    set: NamedSet
    entries: Entries


@dataclass(frozen=True, slots=True)
class DeleteElements:
    table: str
    set: NamedSet
    entries: Entries


Operation = (
    AddTable
    | DeleteTable
    | AddChain
    | RewriteChain
    | DeleteChain
    | InsertRule
    | DeleteRule
    | AddSet
    | DeleteSet
    | AddElements
    | DeleteElements
)


@dataclass(frozen=True, slots=True)
class Transaction:
    family: Family
    operations: tuple[Operation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.operations)

    @property
    def size(self) -> int:
        """How many elements, rules and objects it touches: what its cost grows with."""
        return sum(_size(operation) for operation in self.operations)


def _size(operation: Operation) -> int:
    match operation:
        case AddElements(entries=entries) | DeleteElements(entries=entries):
            return len(entries)
        case AddChain(chain=chain) | RewriteChain(chain=chain):
            return 1 + len(chain.rules)
        case _:
            return 1


def split_transaction(transaction: Transaction, limit: int) -> Iterator[Transaction]:
    """The same operations as several transactions of at most about `limit` elements each.

    Only for a first load into empty tables, where no client can see a state between two of them as a step
    back.
    """
    batch: list[Operation] = []
    size = 0
    for operation in _small_operations(transaction.operations, limit):
        if batch and size + _size(operation) > limit:
            yield Transaction(transaction.family, tuple(batch))
            batch, size = [], 0
        batch.append(operation)
        size += _size(operation)
    if batch:
        yield Transaction(transaction.family, tuple(batch))


def _small_operations(operations: tuple[Operation, ...], limit: int) -> Iterator[Operation]:
    for operation in operations:
        if isinstance(operation, AddElements):
            for start in range(0, len(operation.entries), limit):
                yield AddElements(operation.table, operation.set, operation.entries[start : start + limit])
        else:
            yield operation
