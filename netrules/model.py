"""Packet rules as frozen values: tables, chains, rules, sets and maps.

Pure. One vocabulary for both backends: the nftables layout uses sets and maps, the iptables layout only
chains; `packet_trace` follows a packet through either. Semantics are netfilter's: base chains hang on hooks
in order of priority, NAT chains see the first packet of a connection only. See nft(8) and
iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final


class Family(Enum):
    IPV4 = "ip"
    IPV6 = "ip6"

    @property
    def address_bytes(self) -> int:
        return 4 if self is Family.IPV4 else 16

    @property
    def loopback(self) -> str:
        return "127.0.0.0/8" if self is Family.IPV4 else "::1/128"

    @property
    def multicast(self) -> str:
        return "224.0.0.0/4" if self is Family.IPV4 else "ff00::/8"


class Protocol(IntEnum):
    """Transport protocols that have ports, by IANA number."""

    TCP = 6
    UDP = 17
    SCTP = 132


class Hook(Enum):
    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class ChainType(Enum):
    NAT = "nat"
    FILTER = "filter"


class Field(Enum):
    """What of a packet a match, a set or a map reads. INDEX is a random number below the rule's spread."""

    SOURCE_ADDRESS = "saddr"
    DESTINATION_ADDRESS = "daddr"
    PROTOCOL = "protocol"
    DESTINATION_PORT = "dport"
    INDEX = "index"


class ConnectionState(Enum):
    NEW = "NEW"
    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"
    INVALID = "INVALID"


MASQUERADE_MARK: Final = 0x4000
"""The packet mark bit that means "masquerade on the way out"; the one kube-proxy uses."""


# --- matches: a rule goes on only while they hold -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressMatch:
    """The address lies in `prefix` (`10.0.0.0/8`; a single address is a /32 or /128)."""

    field: Field
    prefix: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PortMatch:
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class ProtocolMatch:
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class MarkMatch:
    """Any bit of `bits` is set in the packet mark; all are clear when negated."""

    bits: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class LocalDestination:
    """The destination is an address of this machine, loopback included."""


@dataclass(frozen=True, slots=True)
class StateMatch:
    states: tuple[ConnectionState, ...]


@dataclass(frozen=True, slots=True)
class DnatMatch:
    """The connection's destination was rewritten (or was not, when negated)."""

    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    fields: tuple[Field, ...]
    set: str


@dataclass(frozen=True, slots=True)
class Chance:
    """Holds for one packet in `one_in`, at random."""

    one_in: int


# --- verdicts and actions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Jump:
    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    chain: str


@dataclass(frozen=True, slots=True)
class Return:
    pass


@dataclass(frozen=True, slots=True)
class Accept:
    pass


@dataclass(frozen=True, slots=True)
class Drop:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    """Tells the client "connection refused": with ICMP port unreachable, or a TCP reset (TCP packets only).

    A reset is the better answer to TCP: the kernel sends each peer only a few ICMP errors per second, and a
    client that connects over IPv6 takes the ICMP error to heart only at its second packet, a second later.
    """

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Rewrites the source to the address of the outgoing interface, with a fully random port."""


@dataclass(frozen=True, slots=True)
class SetMark:
    """Sets these bits of the packet mark, leaving the others."""

    bits: int


@dataclass(frozen=True, slots=True)
class FlipMark:
    """Inverts these bits of the packet mark, leaving the others."""

    bits: int


@dataclass(frozen=True, slots=True)
class Dnat:
    address: str
    port: int
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class DnatFromMap:
    """Rewrites the destination to what `map` holds for `fields`; without an entry the rule does nothing.

    With a spread K, the first field is INDEX, a random number in 0..K-1; without, there is no INDEX.
    """

    fields: tuple[Field, ...]
    map: str
    spread: int = 0


@dataclass(frozen=True, slots=True)
class VerdictFromMap:
    """Takes the verdict that `map` holds for `fields`; without an entry the rule does nothing."""

    fields: tuple[Field, ...]
    map: str


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A statement found in the kernel that isn't of this vocabulary; never written, only different."""

    text: str


Match = (
    AddressMatch
    | ProtocolMatch
    | PortMatch
    | MarkMatch
    | LocalDestination
    | StateMatch
    | DnatMatch
    | InSet
    | Chance
)
Verdict = Jump | Goto | Return | Accept | Drop | Reject
Action = Masquerade | SetMark | FlipMark | Dnat | DnatFromMap | VerdictFromMap | Unrecognised
Statement = Match | Verdict | Action


# --- containers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    statements: tuple[Statement, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a base chain hangs."""

    type: ChainType
    hook: Hook
    priority: int


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    rules: tuple[Rule, ...] = ()
    attachment: Attachment | None = None


class SetKind(Enum):
    SET = "set"
    ADDRESS_MAP = "address map"  # data: an address and a port
    VERDICT_MAP = "verdict map"


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set, or a map from keys to (address, port) or to a verdict; `fields` gives the parts of a key."""

    name: str
    fields: tuple[Field, ...]
    kind: SetKind = SetKind.SET


Key = tuple[str | int, ...]
"""One part per field: addresses as text, everything else as a number."""

Data = tuple[str, int] | Verdict | None
"""An address and a port, a verdict, or None for an element of a plain set."""


@dataclass(frozen=True, slots=True)
class Table:
    """`shared`: others have rules in it too, so its base chains are never flushed nor it removed."""

    family: Family
    name: str
    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, NamedSet] = field(default_factory=dict)
    elements: Mapping[str, Mapping[Key, Data]] = field(default_factory=dict)
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything of ours in one IP family, by table name."""

    family: Family
    tables: Mapping[str, Table] = field(default_factory=dict)
