"""The FLAT nftables layout: no chain per Service, every Service a handful of map and set elements.

Pure. One table `berth` per IP family. A new connection is looked up once by destination in a verdict map,
which names the chain for the Service's number of endpoints; that chain draws a number below it and finds the
endpoint in a second map. So a packet's cost doesn't grow with the number of Services, and a change is a few
elements.

    services             daddr . protocol . dport      -> goto spread-K
    endpoints            n . daddr . protocol . dport  -> address . port        (n < K)
    node-ports           protocol . dport              -> goto node-port-spread-K
    node-port-endpoints  n . protocol . dport          -> address . port
    unreachable-…        external address or node port without endpoints -> reject or drop
    masquerade-…         external address or node port whose clients are masqueraded
    cluster-ips          what still goes to one of these after DNAT is rejected (unknown port, no endpoints)
    hairpin              a . a for endpoints of this node: a pod that reached itself is masqueraded
    host-ports, any-host-ports   host ports of pods, with and without an address of their own

Masquerading is decided before DNAT and carried to postrouting in the packet mark, as kube-proxy does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from netrules.model import (
    MASQUERADE_MARK,
    AddressMatch,
    Attachment,
    Chain,
    ChainType,
    ConnectionState,
    Data,
    DnatFromMap,
    DnatMatch,
    Drop,
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
    NamedSet,
    Protocol,
    ProtocolMatch,
    Reject,
    Rule,
    Ruleset,
    SetKind,
    SetMark,
    StateMatch,
    Statement,
    Table,
    Verdict,
    VerdictFromMap,
)
from netrules.services import (
    Backend,
    Contribution,
    Element,
    Frontend,
    FrontendKind,
    HostPortIntent,
    Intent,
    OwnChain,
    Piece,
    RulesetSettings,
    ServiceIntent,
)

TABLE: Final = "berth"

_DADDR = Field.DESTINATION_ADDRESS
_FRONTEND: Final = (_DADDR, Field.PROTOCOL, Field.DESTINATION_PORT)
_PORT: Final = (Field.PROTOCOL, Field.DESTINATION_PORT)
_PAIR: Final = (Field.SOURCE_ADDRESS, _DADDR)

SERVICES: Final = NamedSet("services", _FRONTEND, SetKind.VERDICT_MAP)
ENDPOINTS: Final = NamedSet("endpoints", (Field.INDEX, *_FRONTEND), SetKind.ADDRESS_MAP)
NODE_PORTS: Final = NamedSet("node-ports", _PORT, SetKind.VERDICT_MAP)
NODE_PORT_ENDPOINTS: Final = NamedSet("node-port-endpoints", (Field.INDEX, *_PORT), SetKind.ADDRESS_MAP)
UNREACHABLE_SERVICES: Final = NamedSet("unreachable-services", _FRONTEND, SetKind.VERDICT_MAP)
UNREACHABLE_NODE_PORTS: Final = NamedSet("unreachable-node-ports", _PORT, SetKind.VERDICT_MAP)
MASQUERADE_SERVICES: Final = NamedSet("masquerade-services", _FRONTEND)
MASQUERADE_NODE_PORTS: Final = NamedSet("masquerade-node-ports", _PORT)
CLUSTER_IPS: Final = NamedSet("cluster-ips", (_DADDR,))
HAIRPIN: Final = NamedSet("hairpin", _PAIR)
HOST_PORTS: Final = NamedSet("host-ports", _FRONTEND, SetKind.ADDRESS_MAP)
ANY_HOST_PORTS: Final = NamedSet("any-host-ports", _PORT, SetKind.ADDRESS_MAP)

SETS: Final = (
    SERVICES,
    ENDPOINTS,
    NODE_PORTS,
    NODE_PORT_ENDPOINTS,
    UNREACHABLE_SERVICES,
    UNREACHABLE_NODE_PORTS,
    MASQUERADE_SERVICES,
    MASQUERADE_NODE_PORTS,
    CLUSTER_IPS,
    HAIRPIN,
    HOST_PORTS,
    ANY_HOST_PORTS,
)

REJECT_CHAIN: Final = "reject-connection"
_NEW: Final = StateMatch((ConnectionState.NEW,))
_REJECT: Final = Goto(REJECT_CHAIN)


@dataclass(frozen=True, slots=True)
class FlatLayout:
    settings: RulesetSettings

    def skeleton(self) -> Ruleset:
        family = self.settings.family
        chains = (*self._dispatch_chains(), *self._base_chains())
        table = Table(
            family,
            TABLE,
            {chain.name: chain for chain in chains},
            {named.name: named for named in SETS},
            {named.name: {} for named in SETS},
        )
        return Ruleset(family, {TABLE: table})

    def contribution(self, intent: Intent) -> Contribution:
        match intent:
            case ServiceIntent():
                return Contribution(frozenset(_service_elements(intent)), frozenset(_shared_pieces(intent)))
            case HostPortIntent():
                return Contribution(
                    frozenset(_host_port_elements(intent)), frozenset(_hairpin((intent.backend,)))
                )

    def endpoint_order(self, observed: Ruleset) -> Mapping[Frontend, tuple[Backend, ...]]:
        table = observed.tables.get(TABLE)
        if table is None:
            return {}
        found: dict[Frontend, dict[int, Backend]] = {}
        for named in (ENDPOINTS, NODE_PORT_ENDPOINTS):
            for (index, *where), data in table.elements.get(named.name, {}).items():
                if isinstance(data, tuple):
                    found.setdefault(_frontend_of(where), {})[int(index)] = Backend(*data)
        return {frontend: tuple(b for _, b in sorted(places.items())) for frontend, places in found.items()}

    def _dispatch_chains(self) -> tuple[Chain, ...]:
        settings = self.settings
        mark_outsiders = Rule(
            (
                *(AddressMatch(Field.SOURCE_ADDRESS, cidr, negated=True) for cidr in settings.cluster_cidrs),
                InSet((_DADDR,), CLUSTER_IPS.name),
                SetMark(MASQUERADE_MARK),
            ),
            "clients from outside the pod network",
        )
        to_services = (
            *((mark_outsiders,) if settings.cluster_cidrs else ()),
            _rule(InSet(_FRONTEND, MASQUERADE_SERVICES.name), SetMark(MASQUERADE_MARK)),
            _rule(VerdictFromMap(_FRONTEND, SERVICES.name)),
            _rule(
                LocalDestination(),
                AddressMatch(_DADDR, settings.family.loopback, negated=True),
                Goto("to-node"),
            ),
        )
        to_node = (
            _rule(InSet(_PORT, MASQUERADE_NODE_PORTS.name), SetMark(MASQUERADE_MARK)),
            _rule(VerdictFromMap(_PORT, NODE_PORTS.name)),
            _rule(DnatFromMap(_FRONTEND, HOST_PORTS.name)),
            _rule(DnatFromMap(_PORT, ANY_HOST_PORTS.name)),
        )
        return (
            Chain(REJECT_CHAIN, (_rule(ProtocolMatch(Protocol.TCP), Reject(reset=True)), _rule(Reject()))),
            Chain("to-node", to_node),
            Chain("to-services", to_services),
        )

    def _base_chains(self) -> tuple[Chain, ...]:
        forward = (
            _rule(_NEW, VerdictFromMap(_FRONTEND, UNREACHABLE_SERVICES.name)),
            _rule(_NEW, InSet((_DADDR,), CLUSTER_IPS.name), _REJECT),
        )
        incoming = (
            _rule(_NEW, VerdictFromMap(_FRONTEND, UNREACHABLE_SERVICES.name)),
            _rule(_NEW, DnatMatch(negated=True), VerdictFromMap(_PORT, UNREACHABLE_NODE_PORTS.name)),
        )
        dispatch = (_rule(Jump("to-services")),)
        nat, filters = ChainType.NAT, ChainType.FILTER
        return (
            Chain("nat-prerouting", dispatch, Attachment(nat, Hook.PREROUTING, -100)),
            Chain("nat-output", dispatch, Attachment(nat, Hook.OUTPUT, -100)),
            Chain("nat-postrouting", self._masquerade_rules(), Attachment(nat, Hook.POSTROUTING, 100)),
            Chain("filter-input", incoming, Attachment(filters, Hook.INPUT, 0)),
            Chain("filter-forward", forward, Attachment(filters, Hook.FORWARD, 0)),
            Chain("filter-output", forward, Attachment(filters, Hook.OUTPUT, 0)),
        )

    def _masquerade_rules(self) -> tuple[Rule, ...]:
        marked = _rule(MarkMatch(MASQUERADE_MARK), FlipMark(MASQUERADE_MARK), Masquerade())
        hairpin = _rule(DnatMatch(), InSet(_PAIR, HAIRPIN.name), Masquerade())
        return (marked, hairpin, *build_egress_rules(self.settings))


def _frontend_of(where: list[str | int]) -> Frontend:
    *address, protocol, port = where
    kind = FrontendKind.SERVICE if address else FrontendKind.NODE_PORT
    return Frontend(kind, str(address[0]) if address else "", Protocol(int(protocol)), int(port))


def build_egress_rules(settings: RulesetSettings) -> tuple[Rule, ...]:
    """Pods that reach out of the cluster do so with the node's address; multicast stays as it is."""
    inside = (*settings.cluster_cidrs, settings.family.multicast)
    stays_out = tuple(AddressMatch(_DADDR, cidr, negated=True) for cidr in inside)
    return tuple(
        Rule((AddressMatch(Field.SOURCE_ADDRESS, cidr), *stays_out, Masquerade()), "pods to the outside")
        for cidr in settings.cluster_cidrs
    )


def build_spread_chain(spread: int, node_port: bool = False) -> Chain:
    """The chain that chooses one of `spread` endpoints."""
    if node_port:
        rule = _rule(DnatFromMap((Field.INDEX, *_PORT), NODE_PORT_ENDPOINTS.name, spread))
        return Chain(f"node-port-spread-{spread}", (rule,))
    return Chain(f"spread-{spread}", (_rule(DnatFromMap((Field.INDEX, *_FRONTEND), ENDPOINTS.name, spread)),))


def _rule(*statements: Statement) -> Rule:
    return Rule(statements)


def _element(named: NamedSet, key: Key, data: Data = None) -> Element:
    return Element(TABLE, named, key, data)


def _service_elements(intent: ServiceIntent) -> Iterator[Element]:
    for address in intent.cluster_addresses:
        yield from _address_elements(intent, address, intent.endpoints)
    for address in intent.external_addresses:
        frontend = (address, intent.protocol, intent.port)
        yield from _address_elements(intent, address, intent.outside_endpoints)
        if not intent.outside_endpoints:
            yield _element(UNREACHABLE_SERVICES, frontend, _refusal(intent))
        elif not intent.preserve_client:
            yield _element(MASQUERADE_SERVICES, frontend)
    if intent.node_port:
        yield from _node_port_elements(intent)


def _address_elements(
    intent: ServiceIntent, address: str, endpoints: tuple[Backend, ...]
) -> Iterator[Element]:
    frontend = (address, intent.protocol, intent.port)
    if endpoints:
        yield _element(SERVICES, frontend, Goto(f"spread-{len(endpoints)}"))
    for index, backend in enumerate(endpoints):
        yield _element(ENDPOINTS, (index, *frontend), (backend.address, backend.port))


def _node_port_elements(intent: ServiceIntent) -> Iterator[Element]:
    frontend = (intent.protocol, intent.node_port)
    endpoints = intent.outside_endpoints
    if not endpoints:
        yield _element(UNREACHABLE_NODE_PORTS, frontend, _refusal(intent))
        return
    yield _element(NODE_PORTS, frontend, Goto(f"node-port-spread-{len(endpoints)}"))
    for index, backend in enumerate(endpoints):
        yield _element(NODE_PORT_ENDPOINTS, (index, *frontend), (backend.address, backend.port))
    if not intent.preserve_client:
        yield _element(MASQUERADE_NODE_PORTS, frontend)


def _refusal(intent: ServiceIntent) -> Verdict:
    return Drop() if intent.preserve_client and intent.endpoints else _REJECT


def _shared_pieces(intent: ServiceIntent) -> Iterator[Piece]:
    for address in intent.cluster_addresses:
        yield _element(CLUSTER_IPS, (address,))
    if intent.endpoints and intent.cluster_addresses:
        yield OwnChain(TABLE, build_spread_chain(len(intent.endpoints)))
    if outside := intent.outside_endpoints:
        if intent.external_addresses:
            yield OwnChain(TABLE, build_spread_chain(len(outside)))
        if intent.node_port:
            yield OwnChain(TABLE, build_spread_chain(len(outside), node_port=True))
    yield from _hairpin((*intent.endpoints, *intent.outside_endpoints))


def _hairpin(backends: tuple[Backend, ...]) -> Iterator[Element]:
    for backend in backends:
        if backend.local:
            yield _element(HAIRPIN, (backend.address, backend.address))


def _host_port_elements(intent: HostPortIntent) -> Iterator[Element]:
    target = (intent.backend.address, intent.backend.port)
    if intent.host_address:
        yield _element(HOST_PORTS, (intent.host_address, intent.protocol, intent.host_port), target)
    else:
        yield _element(ANY_HOST_PORTS, (intent.protocol, intent.host_port), target)
