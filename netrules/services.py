"""What is wanted, as values: Services and host ports of one IP family, and what each adds to a ruleset.

Pure. Callers (the agent's proxy) build intents; a backend's layout turns each intent into pieces (elements,
chains, rules) independently of all others, so that the cost of a change is the cost of the pieces of one
intent. `tracker` keeps many intents up to date; `build_ruleset` is the plain fold of them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol as TypingProtocol

from netrules.model import Chain, Data, Family, Key, NamedSet, Protocol, Rule, Ruleset


@dataclass(frozen=True, slots=True)
class Backend:
    """One endpoint. `local`: it may be a pod of this node, which matters for reaching itself (hairpin)."""

    address: str
    port: int
    local: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIntent:
    """One port of one Service in one IP family.

    `name` is unique (`namespace/service:port`). `external_endpoints` serve node ports and external addresses,
    where a traffic policy makes them differ from `endpoints`; None means the same. With `preserve_client`
    traffic from outside keeps its source address, and without endpoints it is dropped instead of rejected, so
    that a load balancer looks elsewhere.
    """

    name: str
    protocol: Protocol
    port: int
    cluster_addresses: tuple[str, ...] = ()
    node_port: int = 0
    external_addresses: tuple[str, ...] = ()
    endpoints: tuple[Backend, ...] = ()
    external_endpoints: tuple[Backend, ...] | None = None
    preserve_client: bool = False

    @property
    def outside_endpoints(self) -> tuple[Backend, ...]:
        return self.endpoints if self.external_endpoints is None else self.external_endpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPortIntent:
    """A port of this node that leads to one pod; an empty host address means every address of the node."""

    name: str
    protocol: Protocol
    host_address: str = ""
    host_port: int
    backend: Backend


Intent = ServiceIntent | HostPortIntent


class FrontendKind(Enum):
    SERVICE = "service"
    NODE_PORT = "node port"
    HOST_PORT = "host port"


@dataclass(frozen=True, slots=True)
class Frontend:
    """What a client addresses; one owner holds it. An empty address means any address of the node."""

    kind: FrontendKind
    address: str
    protocol: Protocol
    port: int


def service_frontend(intent: ServiceIntent, address: str) -> Frontend:
    return Frontend(FrontendKind.SERVICE, address, intent.protocol, intent.port)


def cluster_frontends(intent: ServiceIntent) -> Iterator[Frontend]:
    return (service_frontend(intent, address) for address in intent.cluster_addresses)


def outside_frontends(intent: ServiceIntent) -> Iterator[Frontend]:
    yield from (service_frontend(intent, address) for address in intent.external_addresses)
    if intent.node_port:
        yield Frontend(FrontendKind.NODE_PORT, "", intent.protocol, intent.node_port)


@dataclass(frozen=True, slots=True)
class RulesetSettings:
    """What holds for all Services. Without cluster CIDRs, only hairpin and node ports masquerade."""

    family: Family
    cluster_cidrs: tuple[str, ...] = ()


# --- pieces: what one intent adds ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Element:
    table: str
    set: NamedSet
    key: Key
    data: Data = None


@dataclass(frozen=True, slots=True)
class OwnChain:
    table: str
    chain: Chain


@dataclass(frozen=True, slots=True)
class SharedRule:
    """A rule in a chain of the skeleton; it goes before the rules that the skeleton has there."""

    table: str
    chain: str
    rule: Rule


Piece = Element | OwnChain | SharedRule


@dataclass(frozen=True, slots=True)
class Contribution:
    """`own` pieces belong to one intent; `shared` ones may be needed by several and go with the last."""

    own: frozenset[Piece] = frozenset()
    shared: frozenset[Piece] = frozenset()


class Layout(TypingProtocol):
    """How a backend lays Services out in rules."""

    def skeleton(self) -> Ruleset:
        """The tables, sets, chains and rules that are there with no intent at all."""

    def contribution(self, intent: Intent) -> Contribution:
        """What this intent adds, whatever the others are."""

    def endpoint_order(self, observed: Ruleset) -> Mapping[Frontend, tuple[Backend, ...]]:
        """The endpoints of each Service frontend in rules that were read, in their order there."""


def build_ruleset(layout: Layout, intents: Iterable[Intent]) -> Ruleset:
    """The whole ruleset for these intents; their frontends must not overlap."""
    pieces: dict[Piece, None] = {}
    for intent in intents:
        contribution = layout.contribution(intent)
        pieces.update(dict.fromkeys(contribution.own))
        pieces.update(dict.fromkeys(contribution.shared))
    return add_pieces(layout.skeleton(), pieces)


def add_pieces(skeleton: Ruleset, pieces: Iterable[Piece]) -> Ruleset:
    """The skeleton with the pieces in it; shared rules come sorted, so that the result has one form."""
    chains = {table.name: dict(table.chains) for table in skeleton.tables.values()}
    elements = {
        table.name: {name: dict[Key, Data]() for name in table.sets} for table in skeleton.tables.values()
    }
    rules: dict[tuple[str, str], list[Rule]] = {}
    for piece in pieces:
        match piece:
            case Element(table=table, set=named, key=key, data=data):
                elements[table][named.name][key] = data
            case OwnChain(table=table, chain=chain):
                chains[table][chain.name] = chain
            case SharedRule(table=table, chain=name, rule=rule):
                rules.setdefault((table, name), []).append(rule)
    for (table, name), added in rules.items():
        chain = chains[table][name]
        chains[table][name] = Chain(name, (*sorted(added, key=repr), *chain.rules), chain.attachment)
    return Ruleset(
        skeleton.family,
        {
            name: replace(table, chains=chains[name], elements=elements[name])
            for name, table in skeleton.tables.items()
        },
    )


def keep_order(previous: tuple[Backend, ...], wanted: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """The wanted endpoints, each staying at its previous place where it can.

    An endpoint's place is its number in the rules, so a stable order is a small change: newcomers take the
    places of those that left, and when there are fewer than before, the last ones move into the holes.
    """
    left = {(backend.address, backend.port): backend for backend in wanted}
    survivors = [left.pop((old.address, old.port), None) for old in previous]
    count = len(left) + sum(survivor is not None for survivor in survivors)
    fillers = iter([*filter(None, survivors[count:]), *left.values()])
    places = (survivors + [None] * count)[:count]
    return tuple(place or next(fillers) for place in places)
