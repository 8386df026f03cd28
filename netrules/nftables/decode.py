"""The kernel's nftables objects as values.

Pure: takes payloads of dumped messages. Sets, elements and chains decode by themselves; a rule is recognised
by its expressions among the rules that we could have written, and anything else comes back as `Unrecognised`,
which differs from every wanted rule and so is repaired. Called by the backend when it reads what is there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, assert_never

from netrules.model import (
    Accept,
    Attachment,
    Chain,
    ChainType,
    Data,
    Drop,
    Family,
    Field,
    Goto,
    Jump,
    Key,
    NamedSet,
    Return,
    Rule,
    SetKind,
    Unrecognised,
    Verdict,
)
from netrules.netlink import attribute, parse_attributes, parse_number, parse_text, unpack_address
from netrules.nftables.encode import HOOK_NUMBERS, SET_IS_MAP, VERDICT_DATA_TYPE, key_type
from netrules.nftables.expressions import Expression, compile_rule

RuleBook = Mapping[tuple[tuple[Expression, ...], str], Rule]
"""Rules by their expressions and comment."""

_HEADER_BYTES: Final = 4
_HOOKS: Final = {number: hook for hook, number in HOOK_NUMBERS.items()}
_NESTED_DATA: Final = {("cmp", 3), ("bitwise", 4), ("bitwise", 5), ("immediate", 2)}


def build_rule_book(rules: Iterable[Rule], family: Family) -> RuleBook:
    return {(compile_rule(rule, family), rule.comment): rule for rule in rules}


def parse_object(payload: bytes) -> dict[int, bytes]:
    """The attributes of one dumped object."""
    return dict(parse_attributes(payload[_HEADER_BYTES:]))


# --- chains and rules ---------------------------------------------------------------------------------------


def decode_chain(payload: bytes) -> tuple[str, Chain]:
    """(table, chain without rules)."""
    attributes = parse_object(payload)
    attachment = None
    if hook := attributes.get(4):
        where = dict(parse_attributes(hook))
        priority = struct.unpack(">i", where[2])[0]
        type = (
            ChainType(parse_text(attributes[7])) if parse_text(attributes[7]) != "route" else ChainType.FILTER
        )
        attachment = Attachment(type, _HOOKS[parse_number(where[1])], priority)
    return parse_text(attributes[1]), Chain(parse_text(attributes[3]), (), attachment)


def decode_rule(payload: bytes, book: RuleBook) -> tuple[str, Rule]:
    """(chain, rule)."""
    attributes = parse_object(payload)
    expressions = tuple(_decode_expression(value) for _, value in parse_attributes(attributes.get(4, b"")))
    comment = _decode_comment(attributes.get(7, b""))
    rule = book.get((expressions, comment))
    if rule is None:
        words = " ".join(expression.name for expression in expressions)
        rule = Rule((Unrecognised(words),), comment)
    return parse_text(attributes[2]), rule


def _decode_expression(data: bytes) -> Expression:
    parts = dict(parse_attributes(data))
    name = parse_text(parts[1])
    attributes = sorted(parse_attributes(parts.get(2, b"")))
    return Expression(name, tuple((type, _plain(name, type, value)) for type, value in attributes))


def _plain(name: str, type: int, value: bytes) -> bytes:
    """Nested data without flags, so that it compares with what `expressions` builds."""
    if (name, type) not in _NESTED_DATA:
        return value
    return b"".join(attribute(inner, content) for inner, content in parse_attributes(value))


def _decode_comment(user_data: bytes) -> str:
    if len(user_data) < 2 or user_data[0] != 0:
        return ""
    return parse_text(user_data[2 : 2 + user_data[1]])


# --- sets and elements --------------------------------------------------------------------------------------


def decode_set(payload: bytes, known: Mapping[str, NamedSet], family: Family) -> NamedSet:
    """The set of that name if it has the known type, else one with no fields, which is like no other."""
    attributes = parse_object(payload)
    name = parse_text(attributes[2])
    wanted = known.get(name)
    if (
        wanted
        and _kind(attributes) is wanted.kind
        and parse_number(attributes[4]) == key_type(wanted, family)
    ):
        return wanted
    return NamedSet(name, ())


def _kind(attributes: Mapping[int, bytes]) -> SetKind:
    if not parse_number(attributes.get(3, b"")) & SET_IS_MAP:
        return SetKind.SET
    is_verdict = parse_number(attributes.get(6, b"")) == VERDICT_DATA_TYPE
    return SetKind.VERDICT_MAP if is_verdict else SetKind.ADDRESS_MAP


def decode_elements(payload: bytes, named: NamedSet, family: Family) -> Iterator[tuple[Key, Data]]:
    """The elements of one dumped message."""
    parts = tuple(map(_part_decoder(family), named.fields))
    widths = tuple(_width(field, family) for field in named.fields)
    for _, element in parse_attributes(parse_object(payload).get(3, b"")):
        attributes = dict(parse_attributes(element))
        packed = dict(parse_attributes(attributes[1]))[1]
        yield _decode_key(packed, parts, widths), _decode_data(attributes.get(2), family)


_PartDecoder = Callable[[bytes], str | int]


def _decode_key(packed: bytes, parts: tuple[_PartDecoder, ...], widths: tuple[int, ...]) -> Key:
    key: list[str | int] = []
    offset = 0
    for part, width in zip(parts, widths, strict=True):
        key.append(part(packed[offset : offset + width]))
        offset += width
    return tuple(key)


def _width(field: Field, family: Family) -> int:
    return family.address_bytes if field in (Field.SOURCE_ADDRESS, Field.DESTINATION_ADDRESS) else 4


def _part_decoder(family: Family) -> Callable[[Field], _PartDecoder]:
    def choose(field: Field) -> _PartDecoder:
        match field:
            case Field.SOURCE_ADDRESS | Field.DESTINATION_ADDRESS:
                return lambda packed: unpack_address(packed[: family.address_bytes])
            case Field.PROTOCOL:
                return lambda packed: packed[0]
            case Field.DESTINATION_PORT:
                return lambda packed: int.from_bytes(packed[:2], "big")
            case Field.INDEX:
                return lambda packed: int(struct.unpack("=I", packed)[0])
        assert_never(field)

    return choose


def _decode_data(data: bytes | None, family: Family) -> Data:
    if data is None:
        return None
    attributes = dict(parse_attributes(data))
    if verdict := attributes.get(2):
        return _decode_verdict(verdict)
    value = attributes[1]
    width = family.address_bytes
    return unpack_address(value[:width]), int.from_bytes(value[width : width + 2], "big")


def _decode_verdict(data: bytes) -> Verdict:
    attributes = dict(parse_attributes(data))
    code = struct.unpack(">i", attributes[1])[0]
    chain = parse_text(attributes.get(2, b""))
    match code:
        case -3:
            return Jump(chain)
        case -4:
            return Goto(chain)
        case -5:
            return Return()
        case 0:
            return Drop()
        case _:
            return Accept()
