"""Rules as the kernel's nftables expressions, and back by recognition.

Pure. Each statement compiles to a fixed sequence of expressions over registers, with exactly the attributes
that the kernel's own dump shows, so that what was written and what is read compare equal. Numbers are those
of linux/netfilter/nf_tables.h. Registers are the 32-bit ones, written as the kernel prints them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, assert_never

from netrules.errors import RulesError
from netrules.model import (
    Accept,
    AddressMatch,
    Chance,
    ConnectionState,
    Dnat,
    DnatFromMap,
    DnatMatch,
    Drop,
    Family,
    Field,
    FlipMark,
    Goto,
    InSet,
    Jump,
    LocalDestination,
    MarkMatch,
    Masquerade,
    PortMatch,
    ProtocolMatch,
    Reject,
    Return,
    Rule,
    SetMark,
    StateMatch,
    Statement,
    Unrecognised,
    Verdict,
    VerdictFromMap,
)
from netrules.netlink import AF_INET, AF_INET6, attribute, nested, number, pack_address, text

FAMILY_NUMBERS: Final = {Family.IPV4: AF_INET, Family.IPV6: AF_INET6}


@dataclass(frozen=True, slots=True)
class Expression:
    """One kernel expression; `attributes` in the order of their types, nested ones as bytes without flags."""

    name: str
    attributes: tuple[tuple[int, bytes], ...]


_VERDICT_REGISTER: Final = 0
_EQUAL, _NOT_EQUAL = 0, 1
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_MARK, _META_L4PROTO = 3, 16
_CT_STATE, _CT_STATUS, _CT_DST_NAT = 0, 2, 0x20
_FIB_DADDR, _FIB_RESULT_ADDRTYPE, _RTN_LOCAL = 2, 3, 2
_NUMGEN_RANDOM: Final = 1
_NAT_DESTINATION: Final = 1
_NAT_ADDRESS_AND_PORT: Final = 3  # what the kernel infers from the registers, and dumps
_RANDOM_FULLY: Final = 0x10
_ADDRESS_OFFSETS: Final = {
    (Family.IPV4, Field.SOURCE_ADDRESS): 12,
    (Family.IPV4, Field.DESTINATION_ADDRESS): 16,
    (Family.IPV6, Field.SOURCE_ADDRESS): 8,
    (Family.IPV6, Field.DESTINATION_ADDRESS): 24,
}
_STATE_BITS: Final = {
    ConnectionState.INVALID: 1,
    ConnectionState.ESTABLISHED: 2,
    ConnectionState.RELATED: 4,
    ConnectionState.NEW: 8,
}
_REJECT_ICMP, _REJECT_RESET = 0, 1
_PORT_UNREACHABLE: Final = {Family.IPV4: 3, Family.IPV6: 4}
_DATA_VALUE, _DATA_VERDICT = 1, 2


def _register(word: int) -> int:
    """The 32-bit register `word` by the number the kernel prints: every fourth by its old 128-bit name."""
    return 1 + word // 4 if word % 4 == 0 else 8 + word


def _expression(name: str, *attributes: tuple[int, int | bytes | str]) -> Expression:
    encoded = tuple((type, _attribute_value(value)) for type, value in attributes)
    return Expression(name, encoded)


def _attribute_value(value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(4, "big")
    return value.encode() + b"\0" if isinstance(value, str) else value


def _value(data: bytes) -> bytes:
    return attribute(_DATA_VALUE, data)


def _host(value: int) -> bytes:
    return struct.pack("=I", value)


def encode_verdict(verdict: Verdict) -> bytes:
    """The verdict as an NFTA_DATA_VERDICT attribute."""
    match verdict:
        case Jump(chain=chain):
            return nested(_DATA_VERDICT, number(1, -3), text(2, chain))
        case Goto(chain=chain):
            return nested(_DATA_VERDICT, number(1, -4), text(2, chain))
        case Return():
            return nested(_DATA_VERDICT, number(1, -5))
        case Accept():
            return nested(_DATA_VERDICT, number(1, 1))
        case Drop():
            return nested(_DATA_VERDICT, number(1, 0))
        case Reject():
            raise RulesError("a verdict map cannot hold reject; let it go to a chain that rejects")
    assert_never(verdict)


def compile_rule(rule: Rule, family: Family) -> tuple[Expression, ...]:
    """The rule's expressions, in order."""
    return tuple(part for statement in rule.statements for part in _compile(statement, family))


def _compile(statement: Statement, family: Family) -> Iterable[Expression]:
    match statement:
        case AddressMatch():
            return _address_match(statement, family)
        case ProtocolMatch(protocol=protocol):
            return (*_loads((Field.PROTOCOL,), family), _compare(bytes([protocol])))
        case PortMatch(protocol=protocol, port=port):
            return (
                *_loads((Field.PROTOCOL,), family),
                _compare(bytes([protocol])),
                *_loads((Field.DESTINATION_PORT,), family),
                _compare(port.to_bytes(2, "big")),
            )
        case MarkMatch(bits=bits, negated=negated):
            return (_load_mark(), *_test_bits(bits, negated))
        case LocalDestination():
            fib = _expression("fib", (1, _register(0)), (2, _FIB_RESULT_ADDRTYPE), (3, _FIB_DADDR))
            return (fib, _compare(_host(_RTN_LOCAL)))
        case StateMatch(states=states):
            bits = sum(_STATE_BITS[state] for state in states)
            return (_expression("ct", (1, _register(0)), (2, _CT_STATE)), *_test_bits(bits))
        case DnatMatch(negated=negated):
            return (
                _expression("ct", (1, _register(0)), (2, _CT_STATUS)),
                *_test_bits(_CT_DST_NAT, negated),
            )
        case InSet(fields=fields, set=name):
            return (*_loads(fields, family), _expression("lookup", (1, name), (2, _register(0)), (5, 0)))
        case Chance(one_in=one_in):
            return (_random(one_in), _compare(_host(0)))
        case SetMark(bits=bits):
            return (_load_mark(), _bitwise(_host(~bits & 0xFFFFFFFF), _host(bits)), _store_mark())
        case FlipMark(bits=bits):
            return (_load_mark(), _bitwise(_host(0xFFFFFFFF), _host(bits)), _store_mark())
        case Masquerade():
            return (_expression("masq", (1, _RANDOM_FULLY)),)
        case Reject(reset=True):
            return (_expression("reject", (1, _REJECT_RESET)),)
        case Reject():
            return (_expression("reject", (1, _REJECT_ICMP), (2, bytes([_PORT_UNREACHABLE[family]]))),)
        case Dnat() | DnatFromMap():
            return _dnat(statement, family)
        case VerdictFromMap(fields=fields, map=name):
            lookup = _expression("lookup", (1, name), (2, _register(0)), (3, _VERDICT_REGISTER), (5, 0))
            return (*_loads(fields, family), lookup)
        case Jump() | Goto() | Return() | Accept() | Drop():
            data = encode_verdict(statement)
            return (_expression("immediate", (1, _VERDICT_REGISTER), (2, _plain(data))),)
        case Unrecognised(text=words):
            raise RulesError(f"a rule that was only read cannot be written: {words}")
    assert_never(statement)


def _plain(data: bytes) -> bytes:
    """The attribute without its nested flag, as the kernel dumps it."""
    length, type = struct.unpack_from("=HH", data)
    return struct.pack("=HH", length, type & 0x3FFF) + data[4:]


def _loads(fields: tuple[Field, ...], family: Family) -> tuple[Expression, ...]:
    """Loads the fields one after the other from register 0 on; INDEX is loaded by the caller."""
    loads: list[Expression] = []
    word = 0
    for field in fields:
        if field is not Field.INDEX:
            loads.append(_load(field, family, word))
        word += field_words(field, family)
    return tuple(loads)


def field_words(field: Field, family: Family) -> int:
    """How many 32-bit words the field takes in a key."""
    if field in (Field.SOURCE_ADDRESS, Field.DESTINATION_ADDRESS):
        return family.address_bytes // 4
    return 1


def _load(field: Field, family: Family, word: int) -> Expression:
    match field:
        case Field.SOURCE_ADDRESS | Field.DESTINATION_ADDRESS:
            offset = _ADDRESS_OFFSETS[family, field]
            return _payload(word, _NETWORK_HEADER, offset, family.address_bytes)
        case Field.PROTOCOL:
            return _expression("meta", (1, _register(word)), (2, _META_L4PROTO))
        case Field.DESTINATION_PORT:
            return _payload(word, _TRANSPORT_HEADER, 2, 2)
        case Field.INDEX:
            raise RulesError("a random index has no place in a packet")
    assert_never(field)


def _payload(word: int, header: int, offset: int, length: int) -> Expression:
    return _expression("payload", (1, _register(word)), (2, header), (3, offset), (4, length))


def _compare(data: bytes, operation: int = _EQUAL) -> Expression:
    return _expression("cmp", (1, _register(0)), (2, operation), (3, _value(data)))


def _bitwise(mask: bytes, xor: bytes) -> Expression:
    register = _register(0)
    return _expression(
        "bitwise", (1, register), (2, register), (3, len(mask)), (4, _value(mask)), (5, _value(xor)), (6, 0)
    )


def _test_bits(bits: int, negated: bool = False) -> tuple[Expression, ...]:
    return (_bitwise(_host(bits), _host(0)), _compare(_host(0), _EQUAL if negated else _NOT_EQUAL))


def _load_mark() -> Expression:
    return _expression("meta", (1, _register(0)), (2, _META_MARK))


def _store_mark() -> Expression:
    return _expression("meta", (2, _META_MARK), (3, _register(0)))


def _address_match(match: AddressMatch, family: Family) -> tuple[Expression, ...]:
    network = ip_network(match.prefix)
    operation = _NOT_EQUAL if match.negated else _EQUAL
    load = _load(match.field, family, 0)
    compare = _compare(network.network_address.packed, operation)
    if network.prefixlen == network.max_prefixlen:
        return (load, compare)
    return (load, _bitwise(network.netmask.packed, bytes(family.address_bytes)), compare)


def _random(modulus: int) -> Expression:
    return _expression("numgen", (1, _register(0)), (2, modulus), (3, _NUMGEN_RANDOM), (4, 0))


def _dnat(statement: Dnat | DnatFromMap, family: Family) -> tuple[Expression, ...]:
    address, port = _register(0), _register(family.address_bytes // 4)
    nat = _expression(
        "nat",
        (1, _NAT_DESTINATION),
        (2, FAMILY_NUMBERS[family]),
        (3, address),
        (4, address),
        (5, port),
        (6, port),
        (7, _NAT_ADDRESS_AND_PORT),
    )
    if isinstance(statement, Dnat):
        return (
            *_loads((Field.PROTOCOL,), family),
            _compare(bytes([statement.protocol])),
            _expression("immediate", (1, address), (2, _value(pack_address(statement.address)))),
            _expression("immediate", (1, port), (2, _value(statement.port.to_bytes(2, "big")))),
            nat,
        )
    index = (_random(statement.spread),) if statement.spread else ()
    lookup = _expression("lookup", (1, statement.map), (2, _register(0)), (3, address), (5, 0))
    return (*index, *_loads(statement.fields, family), lookup, nat)
