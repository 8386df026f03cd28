"""Transactions as nftables netlink batches.

Pure. One operation becomes one or more messages between a batch begin and a batch end; the kernel commits all
or nothing. Element lists are cut so that no attribute passes netlink's 64 KiB. Called by the backend, which
sends the bytes and maps errors back to operations by sequence number. Numbers are those of
linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from netrules.errors import RulesError
from netrules.model import Attachment, Chain, Data, Family, Field, Hook, Key, NamedSet, Rule, SetKind
from netrules.netlink import (
    AF_UNSPEC,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    attribute,
    build_message,
    nested,
    number,
    pack_address,
    text,
)
from netrules.nftables.expressions import FAMILY_NUMBERS, Expression, compile_rule, encode_verdict
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
    Entries,
    InsertRule,
    Operation,
    RewriteChain,
    Transaction,
)

SUBSYSTEM: Final = 10
NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = 12, 13, 14
NEW_GENERATION, GET_GENERATION = 15, 16

HOOK_NUMBERS: Final = {
    Hook.PREROUTING: 0,
    Hook.INPUT: 1,
    Hook.FORWARD: 2,
    Hook.OUTPUT: 3,
    Hook.POSTROUTING: 4,
}
SET_IS_MAP: Final = 8
VERDICT_DATA_TYPE: Final = 0xFFFFFF00
VERDICT_BYTES: Final = 16

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ELEMENTS_PER_MESSAGE: Final = 500
_TYPE_IDS: Final = {Field.PROTOCOL: 12, Field.DESTINATION_PORT: 13, Field.INDEX: 19}
_ADDRESS_TYPE_IDS: Final = {Family.IPV4: 7, Family.IPV6: 8}
_CREATE: Final = NLM_F_REQUEST | NLM_F_CREATE


@dataclass(frozen=True, slots=True)
class Batch:
    """The bytes of one batch; `operations` tells for each sequence number which operation it came from."""

    data: bytes
    last_sequence: int
    operations: tuple[Operation, ...]

    def operation(self, sequence: int) -> Operation | None:
        """The operation behind a message; the batch's own first message has none."""
        return self.operations[sequence - 2] if 2 <= sequence <= self.last_sequence else None


def message_header(family: Family | None, resource: int = 0) -> bytes:
    """An nfgenmsg: the address family, version 0, and the resource id in network order."""
    number = AF_UNSPEC if family is None else FAMILY_NUMBERS[family]
    return struct.pack("=BB", number, 0) + resource.to_bytes(2, "big")


def message_type(message: int) -> int:
    return SUBSYSTEM << 8 | message


def encode_transaction(transaction: Transaction) -> Batch:
    """The transaction as one batch; sequence numbers count from 1, the batch begin."""
    family = transaction.family
    parts = [build_message(_BATCH_BEGIN, NLM_F_REQUEST, 1, message_header(None, SUBSYSTEM))]
    sources: list[Operation] = []
    pending = [
        (operation, type, flags, payload)
        for operation in transaction.operations
        for type, flags, payload in _encode(operation, family)
    ]
    for position, (operation, type, flags, payload) in enumerate(pending, start=1):
        acknowledge = NLM_F_ACK if position == len(pending) else 0
        body = message_header(family) + payload
        parts.append(build_message(message_type(type), flags | acknowledge, position + 1, body))
        sources.append(operation)
    last = len(pending) + 1
    parts.append(build_message(_BATCH_END, NLM_F_REQUEST, last + 1, message_header(None, SUBSYSTEM)))
    return Batch(b"".join(parts), last, tuple(sources))


_Encoded = tuple[int, int, bytes]  # message, flags, attributes


def _encode(operation: Operation, family: Family) -> Iterator[_Encoded]:
    match operation:
        case AddTable(table=table):
            yield NEW_TABLE, _CREATE, text(1, table) + number(2, 0)
        case DeleteTable(table=table):
            yield DELETE_TABLE, NLM_F_REQUEST, text(1, table)
        case AddChain(table=table, chain=chain):
            yield NEW_CHAIN, _CREATE, _encode_chain(table, chain)
            yield from _encode_rules(table, chain, family)
        case RewriteChain(table=table, chain=chain):
            yield DELETE_RULE, NLM_F_REQUEST, text(1, table) + text(2, chain.name)
            yield from _encode_rules(table, chain, family)
        case DeleteChain(table=table, chain=name):
            yield DELETE_RULE, NLM_F_REQUEST, text(1, table) + text(2, name)
            yield DELETE_CHAIN, NLM_F_REQUEST, text(1, table) + text(3, name)
        case InsertRule(table=table, chain=name, rule=rule):
            yield NEW_RULE, _CREATE, _encode_rule(table, name, rule, family)
        case DeleteRule(chain=name):
            raise RulesError(f"nftables removes no single rule; rewrite the chain {name}")
        case AddSet(table=table, set=named):
            yield NEW_SET, _CREATE, _encode_set(table, named, family)
        case DeleteSet(table=table, set=name):
            yield DELETE_SET, NLM_F_REQUEST, text(1, table) + text(2, name)
        case AddElements(table=table, set=named, entries=entries):
            yield from _encode_elements(NEW_ELEMENTS, _CREATE, table, named, entries, _element_encoder(named))
        case DeleteElements(table=table, set=named, entries=entries):
            keys = _key_encoder(named)
            yield from _encode_elements(DELETE_ELEMENTS, NLM_F_REQUEST, table, named, entries, keys)
        case _:
            assert_never(operation)


def _encode_chain(table: str, chain: Chain) -> bytes:
    names = text(1, table) + text(3, chain.name)
    return names + _encode_attachment(chain.attachment) if chain.attachment else names


def _encode_attachment(attachment: Attachment) -> bytes:
    hook = nested(4, number(1, HOOK_NUMBERS[attachment.hook]), number(2, attachment.priority))
    accept = number(5, 1)
    return hook + accept + text(7, attachment.type.value)


def _encode_rules(table: str, chain: Chain, family: Family) -> Iterator[_Encoded]:
    for rule in chain.rules:
        yield NEW_RULE, _CREATE | NLM_F_APPEND, _encode_rule(table, chain.name, rule, family)


def _encode_rule(table: str, chain: str, rule: Rule, family: Family) -> bytes:
    expressions = nested(4, *(_encode_expression(part) for part in compile_rule(rule, family)))
    comment = rule.comment.encode() + b"\0"
    user_data = attribute(7, bytes([0, len(comment)]) + comment) if rule.comment else b""
    return text(1, table) + text(2, chain) + expressions + user_data


def _encode_expression(expression: Expression) -> bytes:
    data = nested(2, *(attribute(type, value) for type, value in expression.attributes))
    return nested(1, text(1, expression.name), data)


def _encode_set(table: str, named: NamedSet, family: Family) -> bytes:
    attributes = [
        text(1, table),
        text(2, named.name),
        number(3, SET_IS_MAP if named.kind is not SetKind.SET else 0),
        number(4, key_type(named, family)),
        number(5, key_bytes(named, family)),
    ]
    if named.kind is SetKind.VERDICT_MAP:
        attributes += [number(6, VERDICT_DATA_TYPE), number(7, VERDICT_BYTES)]
    elif named.kind is SetKind.ADDRESS_MAP:
        data_type = _ADDRESS_TYPE_IDS[family] << 6 | _TYPE_IDS[Field.DESTINATION_PORT]
        attributes += [number(6, data_type), number(7, family.address_bytes + 4)]
    return b"".join((*attributes, number(10, 1)))


def key_type(named: NamedSet, family: Family) -> int:
    """The set's key type as nft(8) counts: six bits for each part, the first part highest."""
    type = 0
    for field in named.fields:
        type = type << 6 | _TYPE_IDS.get(field, _ADDRESS_TYPE_IDS[family])
    return type


def key_bytes(named: NamedSet, family: Family) -> int:
    return sum(map(_field_size(family), named.fields))


def _field_size(family: Family) -> Callable[[Field], int]:
    return lambda field: 4 if field in _TYPE_IDS else family.address_bytes


def _encode_elements(
    message: int,
    flags: int,
    table: str,
    named: NamedSet,
    entries: Entries,
    encode: Callable[[Key, Data], bytes],
) -> Iterator[_Encoded]:
    names = text(1, table) + text(2, named.name)
    for start in range(0, len(entries), _ELEMENTS_PER_MESSAGE):
        some = entries[start : start + _ELEMENTS_PER_MESSAGE]
        yield message, flags, names + nested(3, *(encode(key, data) for key, data in some))


def _key_encoder(named: NamedSet) -> Callable[[Key, Data], bytes]:
    parts = tuple(map(_part_encoder, named.fields))

    def encode(key: Key, _data: Data) -> bytes:
        packed = b"".join([part(value) for part, value in zip(parts, key, strict=True)])
        return nested(1, nested(1, attribute(1, packed)))

    return encode


def _element_encoder(named: NamedSet) -> Callable[[Key, Data], bytes]:
    parts = tuple(map(_part_encoder, named.fields))

    def encode(key: Key, data: Data) -> bytes:
        packed = b"".join([part(value) for part, value in zip(parts, key, strict=True)])
        encoded = nested(1, attribute(1, packed))
        return nested(1, encoded if data is None else encoded + nested(2, _encode_data(data)))

    return encode


def _part_encoder(field: Field) -> Callable[[str | int], bytes]:
    match field:
        case Field.SOURCE_ADDRESS | Field.DESTINATION_ADDRESS:
            return lambda value: pack_address(str(value))
        case Field.PROTOCOL:
            return lambda value: bytes((int(value), 0, 0, 0))
        case Field.DESTINATION_PORT:
            return lambda value: int(value).to_bytes(2, "big") + b"\0\0"
        case Field.INDEX:
            return lambda value: struct.pack("=I", int(value))
    assert_never(field)


def _encode_data(data: Data) -> bytes:
    if isinstance(data, tuple):
        address, port = data
        return attribute(1, pack_address(address) + port.to_bytes(2, "big") + b"\0\0")
    if data is None:
        raise RulesError("an element of a map needs data")
    return encode_verdict(data)
