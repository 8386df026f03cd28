"""Rules as iptables writes them, and back.

Pure. `render_…` writes what `iptables-restore --noflush` reads; `parse_save` reads what `iptables-save`
prints, in the same form, so that a rule survives the round trip. A line with anything outside our vocabulary
becomes `Unrecognised`. See iptables(8) and iptables-extensions(8).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
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
    Protocol,
    ProtocolMatch,
    Reject,
    Return,
    Rule,
    SetMark,
    StateMatch,
    Statement,
    Unrecognised,
    VerdictFromMap,
)
from netrules.transaction import (
    AddChain,
    DeleteChain,
    DeleteRule,
    InsertRule,
    Operation,
    RewriteChain,
    Transaction,
)

_REJECT_WITH: Final = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}
_RESET: Final = "tcp-reset"
_REJECTING_TABLE: Final = "filter"
_RANK: Final = (
    AddressMatch,
    LocalDestination,
    PortMatch,
    StateMatch,
    MarkMatch,
    Chance,
)
"""The order of matches in a rule of ours; the kernel keeps none."""


# --- rendering ----------------------------------------------------------------------------------------------


def render_transaction(transaction: Transaction) -> str:
    """The whole input of one iptables-restore --noflush; each table in it is committed by itself.

    A Service that loses its last endpoint is rejected before its translation goes, and one that gets its
    first is translated before the rejection goes: packets of the moment between would leave the node.
    """
    sections: dict[tuple[int, str], list[Operation]] = {}
    for operation in transaction.operations:
        sections.setdefault((_choose_turn(operation), operation.table), []).append(operation)
    lines: list[str] = []
    for (_, table), operations in sorted(sections.items(), key=lambda section: section[0][0]):
        lines += (f"*{table}", *_declarations(operations))
        lines += (line for operation in operations for line in _lines(operation, transaction.family))
        lines.append("COMMIT")
    return "\n".join((*lines, ""))


def _choose_turn(operation: Operation) -> int:
    """What comes in the table that rejects, then all the others, then what goes from it."""
    if operation.table != _REJECTING_TABLE:
        return 1
    return 2 if isinstance(operation, DeleteRule | DeleteChain) else 0


def _declarations(operations: list[Operation]) -> Iterator[str]:
    """Declaring a chain makes it if need be, and empties it; all come first, since rules name chains."""
    for operation in operations:
        match operation:
            case AddChain(chain=chain) | RewriteChain(chain=chain):
                yield f":{chain.name} - [0:0]"
            case DeleteChain(chain=name):
                yield f":{name} - [0:0]"
            case _:
                pass


def _lines(operation: Operation, family: Family) -> Iterator[str]:
    match operation:
        case AddChain(chain=chain) | RewriteChain(chain=chain):
            for rule in chain.rules:
                yield f"-A {chain.name} {render_rule(rule, family)}"
        case DeleteChain(chain=name):
            yield f"-X {name}"
        case InsertRule(chain=name, rule=rule):
            yield f"-I {name} 1 {render_rule(rule, family)}"
        case DeleteRule(chain=name, rule=rule):
            yield f"-D {name} {render_rule(rule, family)}"
        case _:
            raise RulesError(f"iptables has no {type(operation).__name__}")


def render_rule(rule: Rule, family: Family) -> str:
    """The rule's matches and target as iptables-save would print them."""
    words = [_render(statement, family) for statement in rule.statements]
    if rule.comment:
        comment = rule.comment.replace("\\", "\\\\").replace('"', '\\"')
        words.insert(max(len(words) - 1, 0), f'-m comment --comment "{comment}"')
    return " ".join(words)


def _render(statement: Statement, family: Family) -> str:
    match statement:
        case AddressMatch(field=field, prefix=prefix, negated=negated):
            option = "-s" if field is Field.SOURCE_ADDRESS else "-d"
            return f"! {option} {prefix}" if negated else f"{option} {prefix}"
        case PortMatch(protocol=protocol, port=port):
            name = protocol.name.lower()
            return f"-p {name} -m {name} --dport {port}"
        case MarkMatch(bits=bits, negated=negated):
            return f"-m mark {'! ' if negated else ''}--mark {bits:#x}/{bits:#x}"
        case LocalDestination():
            return "-m addrtype --dst-type LOCAL"
        case StateMatch(states=states):
            return f"-m conntrack --ctstate {','.join(state.value for state in states)}"
        case Chance(one_in=one_in):
            return f"-m statistic --mode random --probability {1 / one_in:.11f}"
        case Jump(chain=chain):
            return f"-j {chain}"
        case Goto(chain=chain):
            return f"-g {chain}"
        case Return():
            return "-j RETURN"
        case Accept():
            return "-j ACCEPT"
        case Drop():
            return "-j DROP"
        case Reject(reset=reset):
            return f"-j REJECT --reject-with {_RESET if reset else _REJECT_WITH[family]}"
        case Masquerade():
            return "-j MASQUERADE --random-fully"
        case SetMark(bits=bits):
            return f"-j MARK --set-xmark {bits:#x}/{bits:#x}"
        case FlipMark(bits=bits):
            return f"-j MARK --set-xmark {bits:#x}/0x0"
        case Dnat(address=address, port=port, protocol=protocol):
            target = f"[{address}]:{port}" if family is Family.IPV6 else f"{address}:{port}"
            name = protocol.name.lower()
            return f"-p {name} -m {name} -j DNAT --to-destination {target}"
        case InSet() | ProtocolMatch() | DnatMatch() | DnatFromMap() | VerdictFromMap() | Unrecognised():
            raise RulesError(f"iptables rules of ours hold no {statement}")
    assert_never(statement)


# --- parsing ------------------------------------------------------------------------------------------------


def parse_save(text: str) -> Mapping[str, tuple[Rule, ...]]:
    """The rules of every chain in the output of `iptables-save -t TABLE`, empty chains included."""
    chains: dict[str, list[Rule]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            chains.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            _, chain, words = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" ", 1), "")
            chains.setdefault(chain, []).append(parse_rule(words))
    return {name: tuple(rules) for name, rules in chains.items()}


def parse_rule(words: str) -> Rule:
    """A rule from its matches and target as printed."""
    parser = _RuleParser(shlex.split(words))
    try:
        return parser.parse()
    except (ValueError, KeyError, IndexError):
        return Rule((Unrecognised(words),))


class _RuleParser:
    """Reads words from left to right; what it doesn't know raises ValueError."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._matches: list[Statement] = []
        self._target: list[Statement] = []
        self._comment = ""
        self._protocol: Protocol | None = None
        self._has_port = False

    def parse(self) -> Rule:
        while self._words:
            negated = self._words[0] == "!"
            if negated:
                self._words.pop(0)
            self._option(self._words.pop(0), negated)
        if self._protocol and not self._has_port and not isinstance(next(iter(self._target), None), Dnat):
            raise ValueError("a protocol without a port")
        matches = sorted(self._matches, key=lambda match: _RANK.index(type(match)))
        return Rule((*matches, *self._target), self._comment)

    def _option(self, option: str, negated: bool) -> None:
        if option in ("-s", "-d"):
            field = Field.SOURCE_ADDRESS if option == "-s" else Field.DESTINATION_ADDRESS
            self._matches.append(AddressMatch(field, self._words.pop(0), negated))
        elif option == "-m" and self._words[0] == "mark":
            self._mark_match()
        elif negated:
            raise ValueError(option)
        else:
            _OPTIONS[option](self)

    def _skip(self, expected: str) -> None:
        if self._words.pop(0) != expected:
            raise ValueError(expected)

    def _mark_match(self) -> None:
        self._skip("mark")
        negated = self._words[0] == "!"
        if negated:
            self._words.pop(0)
        self._skip("--mark")
        bits, mask = self._words.pop(0).split("/")
        if bits != mask:
            raise ValueError(bits)
        self._matches.append(MarkMatch(int(bits, 16), negated))

    def _match_module(self) -> None:
        module = self._words.pop(0)
        match module:
            case "tcp" | "udp" | "sctp":
                pass
            case "comment":
                self._skip("--comment")
                self._comment = self._words.pop(0)
            case "addrtype":
                self._skip("--dst-type")
                self._skip("LOCAL")
                self._matches.append(LocalDestination())
            case "conntrack":
                self._skip("--ctstate")
                states = tuple(map(ConnectionState, self._words.pop(0).split(",")))
                self._matches.append(StateMatch(states))
            case "statistic":
                for word in ("--mode", "random", "--probability"):
                    self._skip(word)
                self._matches.append(Chance(round(1 / float(self._words.pop(0)))))
            case _:
                raise ValueError(module)

    def _read_protocol(self) -> None:
        self._protocol = Protocol[self._words.pop(0).upper()]

    def _read_port(self) -> None:
        if self._protocol is None:
            raise ValueError("a port without a protocol")
        self._has_port = True
        self._matches.append(PortMatch(self._protocol, int(self._words.pop(0))))

    def _jump(self) -> None:
        target = self._words.pop(0)
        match target:
            case "RETURN":
                self._target.append(Return())
            case "ACCEPT":
                self._target.append(Accept())
            case "DROP":
                self._target.append(Drop())
            case "REJECT":
                self._reject()
            case "MASQUERADE":
                self._skip("--random-fully")
                self._target.append(Masquerade())
            case "MARK":
                self._set_mark()
            case "DNAT":
                self._dnat()
            case _:
                self._target.append(Jump(target))

    def _goto(self) -> None:
        self._target.append(Goto(self._words.pop(0)))

    def _reject(self) -> None:
        self._skip("--reject-with")
        kind = self._words.pop(0)
        if kind != _RESET and kind not in _REJECT_WITH.values():
            raise ValueError(kind)
        self._target.append(Reject(reset=kind == _RESET))

    def _set_mark(self) -> None:
        self._skip("--set-xmark")
        value, mask = (int(part, 16) for part in self._words.pop(0).split("/"))
        if mask == value:
            self._target.append(SetMark(value))
        elif mask == 0:
            self._target.append(FlipMark(value))
        else:
            raise ValueError("another kind of mark")

    def _dnat(self) -> None:
        self._skip("--to-destination")
        address, _, port = self._words.pop(0).rpartition(":")
        if self._protocol is None:
            raise ValueError("DNAT to a port without a protocol")
        self._target.append(Dnat(address.strip("[]"), int(port), self._protocol))


_OPTIONS: Final[Mapping[str, Callable[[_RuleParser], None]]] = {
    "-p": _RuleParser._read_protocol,
    "-m": _RuleParser._match_module,
    "--dport": _RuleParser._read_port,
    "-j": _RuleParser._jump,
    "-g": _RuleParser._goto,
}
