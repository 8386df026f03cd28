"""Follow the first packet of a connection through a ruleset, without a kernel.

Pure. Works on the values of either backend, so that one table of cases holds both to the same behaviour; also
what `berth explain` shows. Covers what our vocabulary has: hooks by priority, NAT once per direction, the
routing decision after destination NAT. Where a rule chooses at random, every choice is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Final, assert_never

from netrules.model import (
    Accept,
    AddressMatch,
    Chain,
    ChainType,
    Chance,
    ConnectionState,
    Data,
    Dnat,
    DnatFromMap,
    DnatMatch,
    Drop,
    Family,
    Field,
    FlipMark,
    Goto,
    Hook,
    InSet,
    Jump,
    Key,
    LocalDestination,
    MarkMatch,
    Masquerade,
    PortMatch,
    Protocol,
    ProtocolMatch,
    Reject,
    Return,
    Rule,
    Ruleset,
    SetMark,
    StateMatch,
    Statement,
    Table,
    Unrecognised,
    VerdictFromMap,
)


class Origin(Enum):
    """Who sends the packet: a process of the node itself, or somebody whose packets arrive there."""

    NODE = "node"
    ARRIVING = "arriving"


@dataclass(frozen=True, slots=True)
class Packet:
    source: str
    destination: str
    protocol: Protocol
    port: int
    origin: Origin = Origin.ARRIVING


class Fate(Enum):
    LOCAL = "delivered to the node"
    FORWARDED = "sent on"
    REJECTED = "rejected"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the packet ends up, and its destination as rewritten; masqueraded: its source is, too."""

    fate: Fate
    destination: str
    port: int
    masqueraded: bool = False


def trace_packet(ruleset: Ruleset, packet: Packet, local_addresses: frozenset[str]) -> frozenset[Outcome]:
    """Every outcome that chance allows for a new connection, on a node with these addresses and loopback."""
    outcomes: set[Outcome] = set()
    choices: list[int] | None = []
    while choices is not None:
        chooser = _Chooser(tuple(choices))
        outcomes.add(_Walk(ruleset, packet, local_addresses, chooser).run())
        choices = chooser.next_choices()
    return frozenset(outcomes)


class _Chooser:
    """Plays the dice: repeats given choices, then takes the first of each; tells what to try next."""

    def __init__(self, given: tuple[int, ...]) -> None:
        self._given = given
        self._made: list[tuple[int, int]] = []

    def choose(self, options: int) -> int:
        position = len(self._made)
        choice = self._given[position] if position < len(self._given) else 0
        self._made.append((choice, options))
        return choice

    def next_choices(self) -> list[int] | None:
        made = list(self._made)
        while made:
            choice, options = made.pop()
            if choice + 1 < options:
                return [*(earlier for earlier, _ in made), choice + 1]
        return None


class _End(Enum):
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"


_Signal = _End | Goto | None

_FATES: Final = {_End.DROP: Fate.DROPPED, _End.REJECT: Fate.REJECTED}


@dataclass(slots=True)
class _Walk:
    """One packet's way, with what the rules have changed so far."""

    ruleset: Ruleset
    packet: Packet
    local_addresses: frozenset[str]
    chooser: _Chooser
    destination: str = ""
    port: int = 0
    mark: int = 0
    dnat: bool = False
    masqueraded: bool = False
    table: Table = field(default_factory=lambda: Table(Family.IPV4, ""))

    def run(self) -> Outcome:
        self.destination, self.port = self.packet.destination, self.packet.port
        first = Hook.OUTPUT if self.packet.origin is Origin.NODE else Hook.PREROUTING
        fate = self._pass(first)
        is_local = self._is_local(self.destination)
        if fate is None and first is Hook.PREROUTING:
            fate = self._pass(Hook.INPUT if is_local else Hook.FORWARD)
        if fate is None and (first is Hook.OUTPUT or not is_local):
            fate = self._pass(Hook.POSTROUTING)
        if fate is None and first is Hook.OUTPUT and is_local:
            fate = self._pass(Hook.INPUT)
        reached = Fate.LOCAL if is_local else Fate.FORWARDED
        return Outcome(fate or reached, self.destination, self.port, self.masqueraded)

    def _pass(self, hook: Hook) -> Fate | None:
        for table, chain in _hooked_chains(self.ruleset, hook):
            if chain.attachment and chain.attachment.type is ChainType.NAT and self._is_translated(hook):
                continue
            self.table = table
            fate = _FATES.get(end) if isinstance(end := self._run_chain(chain), _End) else None
            if fate:
                return fate
        return None

    def _is_translated(self, hook: Hook) -> bool:
        return self.masqueraded if hook is Hook.POSTROUTING else self.dnat

    def _is_local(self, address: str) -> bool:
        return address in self.local_addresses or ip_address(address).is_loopback

    def _run_chain(self, chain: Chain) -> _Signal:
        for rule in chain.rules:
            signal = self._run_rule(rule)
            match signal:
                case Goto(chain=target):
                    return self._run_chain(self.table.chains[target])
                case _End.RETURN:
                    return None
                case _End():
                    return signal
                case None:
                    continue
        return None

    def _run_rule(self, rule: Rule) -> _Signal:
        for statement in rule.statements:
            holds, signal = self._step(statement)
            if signal is not None or not holds:
                return signal
        return None

    def _step(self, statement: Statement) -> tuple[bool, _Signal]:
        """Whether the rule goes on, and how it ends if it ends here."""
        match statement:
            case Jump(chain=chain):
                return True, self._run_chain(self.table.chains[chain])
            case Goto():
                return True, statement
            case Return():
                return True, _End.RETURN
            case Accept():
                return True, _End.ACCEPT
            case Drop():
                return True, _End.DROP
            case Reject():
                return True, _End.REJECT
            case Masquerade():
                self.masqueraded = True
                return True, _End.ACCEPT
            case SetMark(bits=bits):
                self.mark |= bits
                return True, None
            case FlipMark(bits=bits):
                self.mark ^= bits
                return True, None
            case Dnat(address=address, port=port):
                return True, self._translate((address, port))
            case DnatFromMap(fields=fields, map=name, spread=spread):
                return True, self._translate(self._look_up(name, fields, spread))
            case VerdictFromMap(fields=fields, map=name):
                verdict = self._look_up(name, fields, 0)
                if verdict is None or isinstance(verdict, tuple):
                    return False, None
                return self._step(verdict)
            case Unrecognised():
                return False, None
            case _:
                return self._holds(statement), None

    def _translate(self, target: Data) -> _Signal:
        if not isinstance(target, tuple):
            return None
        self.destination, self.port = target
        self.dnat = True
        return _End.ACCEPT

    def _look_up(self, name: str, fields: tuple[Field, ...], spread: int) -> Data:
        return self.table.elements[name].get(self._key(fields, spread))

    def _key(self, fields: tuple[Field, ...], spread: int = 0) -> Key:
        return tuple(self._value(field, spread) for field in fields)

    def _value(self, field: Field, spread: int) -> str | int:
        match field:
            case Field.SOURCE_ADDRESS:
                return self.packet.source
            case Field.DESTINATION_ADDRESS:
                return self.destination
            case Field.PROTOCOL:
                return self.packet.protocol
            case Field.DESTINATION_PORT:
                return self.port
            case Field.INDEX:
                return self.chooser.choose(spread)
        assert_never(field)

    def _holds(
        self,
        match_: AddressMatch
        | ProtocolMatch
        | PortMatch
        | MarkMatch
        | LocalDestination
        | StateMatch
        | DnatMatch
        | InSet
        | Chance,
    ) -> bool:
        match match_:
            case AddressMatch(field=field, prefix=prefix, negated=negated):
                address = ip_address(str(self._value(field, 0)))
                return (address in ip_network(prefix)) is not negated
            case ProtocolMatch(protocol=protocol):
                return self.packet.protocol is protocol
            case PortMatch(protocol=protocol, port=port):
                return self.packet.protocol is protocol and self.port == port
            case MarkMatch(bits=bits, negated=negated):
                return bool(self.mark & bits) is not negated
            case LocalDestination():
                return self._is_local(self.destination)
            case StateMatch(states=states):
                return ConnectionState.NEW in states
            case DnatMatch(negated=negated):
                return self.dnat is not negated
            case InSet(fields=fields, set=name):
                return self._key(fields) in self.table.elements[name]
            case Chance(one_in=one_in):
                return self.chooser.choose(2) == 0 if one_in > 1 else True
        assert_never(match_)


def _hooked_chains(ruleset: Ruleset, hook: Hook) -> Iterator[tuple[Table, Chain]]:
    hooked = [
        (chain.attachment.priority, table.name, table, chain)
        for table in ruleset.tables.values()
        for chain in table.chains.values()
        if chain.attachment and chain.attachment.hook is hook
    ]
    for _, _, table, chain in sorted(hooked, key=lambda item: item[:2]):
        yield table, chain
