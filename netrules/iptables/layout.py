"""Services as iptables chains, named and shaped as kube-proxy's, so that people's tools recognise them.

Pure. Each Service port has its own chains (KUBE-SVC-…, one KUBE-SEP-… per endpoint, KUBE-EXT-… for what comes
from outside, KUBE-SVL-… where a traffic policy narrows that) and one rule in each shared chain that leads to
it, so a change rewrites only that Service's chains. Host ports and the pods' way out have chains that start
with BERTH-.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from netrules.model import (
    MASQUERADE_MARK,
    Accept,
    AddressMatch,
    Attachment,
    Chain,
    ChainType,
    Chance,
    ConnectionState,
    Dnat,
    Drop,
    Field,
    FlipMark,
    Hook,
    Jump,
    LocalDestination,
    MarkMatch,
    Masquerade,
    PortMatch,
    Protocol,
    Reject,
    Return,
    Rule,
    Ruleset,
    SetMark,
    StateMatch,
    Statement,
    Table,
    Verdict,
)
from netrules.services import (
    Backend,
    Contribution,
    Frontend,
    FrontendKind,
    HostPortIntent,
    Intent,
    OwnChain,
    Piece,
    RulesetSettings,
    ServiceIntent,
    SharedRule,
)

NAT: Final = "nat"
FILTER: Final = "filter"
TABLES: Final = (NAT, FILTER)

SERVICES: Final = "KUBE-SERVICES"
EXTERNAL_SERVICES: Final = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS: Final = "KUBE-NODEPORTS"
POSTROUTING: Final = "KUBE-POSTROUTING"
MARK_MASQ: Final = "KUBE-MARK-MASQ"
FORWARD: Final = "KUBE-FORWARD"
HOST_PORTS: Final = "BERTH-HOSTPORTS"
POD_EGRESS: Final = "BERTH-POSTROUTING"

SKELETON_CHAINS: Final = {
    NAT: (SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQ, HOST_PORTS, POD_EGRESS),
    FILTER: (SERVICES, EXTERNAL_SERVICES, FORWARD),
}
INTENT_PREFIXES: Final = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "BERTH-HP-")

ATTACHMENTS: Final = {
    NAT: {
        "PREROUTING": Attachment(ChainType.NAT, Hook.PREROUTING, -100),
        "OUTPUT": Attachment(ChainType.NAT, Hook.OUTPUT, -100),
        "POSTROUTING": Attachment(ChainType.NAT, Hook.POSTROUTING, 100),
    },
    FILTER: {
        "INPUT": Attachment(ChainType.FILTER, Hook.INPUT, 0),
        "FORWARD": Attachment(ChainType.FILTER, Hook.FORWARD, 0),
        "OUTPUT": Attachment(ChainType.FILTER, Hook.OUTPUT, 0),
    },
}

_SADDR, _DADDR = Field.SOURCE_ADDRESS, Field.DESTINATION_ADDRESS
_NEW: Final = StateMatch((ConnectionState.NEW,))


def is_our_chain(table: str, chain: str) -> bool:
    """Whether the chain is one that this layout makes; other KUBE- chains belong to others."""
    return chain in SKELETON_CHAINS[table] or chain.startswith(INTENT_PREFIXES)


@dataclass(frozen=True, slots=True)
class ChainLayout:
    settings: RulesetSettings

    def skeleton(self) -> Ruleset:
        family = self.settings.family
        tables = {
            NAT: (*_nat_hooks(), *self._nat_chains()),
            FILTER: (*_filter_hooks(), *_filter_chains()),
        }
        return Ruleset(
            family,
            {
                name: Table(family, name, {chain.name: chain for chain in chains}, shared=True)
                for name, chains in tables.items()
            },
        )

    def contribution(self, intent: Intent) -> Contribution:
        match intent:
            case ServiceIntent():
                return Contribution(frozenset(_ServicePieces(self.settings, intent).pieces()))
            case HostPortIntent():
                return Contribution(frozenset(_host_port_pieces(intent)))

    def endpoint_order(self, observed: Ruleset) -> Mapping[Frontend, tuple[Backend, ...]]:
        nat = observed.tables.get(NAT)
        chains = nat.chains if nat else {}
        order: dict[Frontend, tuple[Backend, ...]] = {}
        for name in (SERVICES, NODE_PORTS):
            for rule in chains[name].rules if name in chains else ():
                if frontend := _frontend_of(rule):
                    order[frontend] = tuple(_reachable_backends(chains, rule))
        return order

    def _nat_chains(self) -> tuple[Chain, ...]:
        return (
            Chain(MARK_MASQ, (_rule(SetMark(MASQUERADE_MARK)),)),
            Chain(NODE_PORTS),
            Chain(SERVICES, (_rule(LocalDestination(), Jump(NODE_PORTS)),)),
            Chain(
                POSTROUTING,
                (
                    _rule(MarkMatch(MASQUERADE_MARK, negated=True), Return()),
                    _rule(FlipMark(MASQUERADE_MARK)),
                    _rule(Masquerade()),
                ),
            ),
            Chain(HOST_PORTS),
            Chain(POD_EGRESS, self._egress_rules()),
        )

    def _egress_rules(self) -> tuple[Rule, ...]:
        """Pods that reach out of the cluster do so with the node's address; multicast stays as it is."""
        inside = (*self.settings.cluster_cidrs, self.settings.family.multicast)
        return (
            *(_rule(AddressMatch(_DADDR, cidr), Return()) for cidr in inside),
            *(_rule(AddressMatch(_SADDR, cidr), Masquerade()) for cidr in self.settings.cluster_cidrs),
        )


def _nat_hooks() -> tuple[Chain, ...]:
    to_services = Rule((Jump(SERVICES),), "kubernetes service portals")
    to_host_ports = Rule((LocalDestination(), Jump(HOST_PORTS)), "host ports of pods")
    leaving = (
        Rule((Jump(POSTROUTING),), "kubernetes postrouting rules"),
        Rule((Jump(POD_EGRESS),), "pods to the outside"),
    )
    attachments = ATTACHMENTS[NAT]
    return (
        Chain("PREROUTING", (to_services, to_host_ports), attachments["PREROUTING"]),
        Chain("OUTPUT", (to_services, to_host_ports), attachments["OUTPUT"]),
        Chain("POSTROUTING", leaving, attachments["POSTROUTING"]),
    )


def _filter_hooks() -> tuple[Chain, ...]:
    services = Rule((_NEW, Jump(SERVICES)), "kubernetes service portals")
    external = Rule((_NEW, Jump(EXTERNAL_SERVICES)), "kubernetes externally-visible service portals")
    forwarding = Rule((Jump(FORWARD),), "kubernetes forwarding rules")
    attachments = ATTACHMENTS[FILTER]
    return (
        Chain("INPUT", (external,), attachments["INPUT"]),
        Chain("FORWARD", (services, external, forwarding), attachments["FORWARD"]),
        Chain("OUTPUT", (services,), attachments["OUTPUT"]),
    )


def _filter_chains() -> tuple[Chain, ...]:
    established = StateMatch((ConnectionState.RELATED, ConnectionState.ESTABLISHED))
    forward = (
        _rule(StateMatch((ConnectionState.INVALID,)), Drop()),
        _rule(MarkMatch(MASQUERADE_MARK), Accept()),
        _rule(established, Accept()),
    )
    return (Chain(SERVICES), Chain(EXTERNAL_SERVICES), Chain(FORWARD, forward))


def _rule(*statements: Statement) -> Rule:
    return Rule(statements)


def _frontend_of(rule: Rule) -> Frontend | None:
    match rule.statements:
        case (AddressMatch(field=Field.DESTINATION_ADDRESS, prefix=prefix), PortMatch() as port, Jump()):
            address = prefix.split("/", 1)[0]
            return Frontend(FrontendKind.SERVICE, address, port.protocol, port.port)
        case (PortMatch() as port, Jump()):
            return Frontend(FrontendKind.NODE_PORT, "", port.protocol, port.port)
        case _:
            return None


def _reachable_backends(chains: Mapping[str, Chain], rule: Rule) -> Iterator[Backend]:
    """The targets of a rule and of the chains it jumps to, in the order of the rules."""
    for statement in rule.statements:
        match statement:
            case Dnat(address=address, port=port):
                yield Backend(address, port)
            case Jump(chain=name) if name.startswith(INTENT_PREFIXES) and name in chains:
                for next_rule in chains[name].rules:
                    yield from _reachable_backends(chains, next_rule)


def build_chain_name(prefix: str, *parts: str) -> str:
    """The chain name as kube-proxy derives it: the prefix and 16 characters of a hash."""
    digest = hashlib.sha256("".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:16]


@dataclass(frozen=True, slots=True)
class _ServicePieces:
    """The chains and rules of one Service port."""

    settings: RulesetSettings
    intent: ServiceIntent

    def pieces(self) -> Iterator[Piece]:
        yield from self._cluster_pieces()
        if self.intent.node_port or self.intent.external_addresses:
            yield from self._external_pieces()

    def _cluster_pieces(self) -> Iterator[Piece]:
        intent = self.intent
        for address in intent.cluster_addresses:
            where = (self._to(address), PortMatch(intent.protocol, intent.port))
            if intent.endpoints:
                yield self._entry(NAT, SERVICES, (*where, Jump(self._name("KUBE-SVC-"))), "cluster IP")
            else:
                yield self._entry(FILTER, SERVICES, (*where, self._reject()), "has no endpoints")
        if intent.endpoints:
            outsiders = (self._outsiders(address) for address in intent.cluster_addresses)
            guards = tuple(rule for rules in outsiders for rule in rules)
            yield from self._spread("KUBE-SVC-", guards, intent.endpoints)

    def _external_pieces(self) -> Iterator[Piece]:
        intent = self.intent
        reachable = bool(intent.outside_endpoints)
        verdict: Verdict = Jump(self._name("KUBE-EXT-")) if reachable else self._refusal()
        for address in intent.external_addresses:
            where = (self._to(address), PortMatch(intent.protocol, intent.port))
            table, chain = (NAT, SERVICES) if reachable else (FILTER, EXTERNAL_SERVICES)
            yield self._entry(table, chain, (*where, verdict), "external IP")
        if intent.node_port:
            port = PortMatch(intent.protocol, intent.node_port)
            if reachable:
                yield self._entry(NAT, NODE_PORTS, (port, verdict), "node port")
            else:
                yield self._entry(FILTER, EXTERNAL_SERVICES, (LocalDestination(), port, verdict), "node port")
        if reachable:
            yield from self._external_chains()

    def _external_chains(self) -> Iterator[Piece]:
        intent = self.intent
        narrowed = intent.external_endpoints is not None
        target = self._name("KUBE-SVL-" if narrowed else "KUBE-SVC-")
        masquerade = () if intent.preserve_client else (_rule(Jump(MARK_MASQ)),)
        yield OwnChain(NAT, Chain(self._name("KUBE-EXT-"), (*masquerade, _rule(Jump(target)))))
        if intent.external_endpoints is not None:
            yield from self._spread("KUBE-SVL-", (), intent.external_endpoints)

    def _spread(
        self, prefix: str, guards: tuple[Rule, ...], endpoints: tuple[Backend, ...]
    ) -> Iterator[Piece]:
        names = tuple(self._name("KUBE-SEP-", _target(backend)) for backend in endpoints)
        choices = tuple(
            _rule(Chance(remaining), Jump(name)) if remaining > 1 else _rule(Jump(name))
            for remaining, name in zip(range(len(names), 0, -1), names, strict=True)
        )
        yield OwnChain(NAT, Chain(self._name(prefix), (*guards, *choices)))
        for name, backend in zip(names, endpoints, strict=True):
            yield OwnChain(NAT, _endpoint_chain(name, backend, self.intent.protocol))

    def _outsiders(self, address: str) -> tuple[Rule, ...]:
        """Clients from outside the pod network are masqueraded, so that answers come back this way."""
        cidrs = self.settings.cluster_cidrs
        if not cidrs:
            return ()
        where = (self._to(address), PortMatch(self.intent.protocol, self.intent.port))
        return (_rule(AddressMatch(_SADDR, cidrs[0], negated=True), *where, Jump(MARK_MASQ)),)

    def _refusal(self) -> Verdict:
        return Drop() if self.intent.preserve_client and self.intent.endpoints else self._reject()

    def _reject(self) -> Reject:
        return Reject(reset=self.intent.protocol is Protocol.TCP)

    def _entry(self, table: str, chain: str, statements: tuple[Statement, ...], what: str) -> SharedRule:
        return SharedRule(table, chain, Rule(statements, f"{self.intent.name} {what}"))

    def _to(self, address: str) -> AddressMatch:
        return AddressMatch(_DADDR, host_prefix(address))

    def _name(self, prefix: str, *more: str) -> str:
        return build_chain_name(prefix, self.intent.name, self.intent.protocol.name.lower(), *more)


def host_prefix(address: str) -> str:
    """The address as a prefix of its full length, as iptables prints it."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def _target(backend: Backend) -> str:
    return (
        f"[{backend.address}]:{backend.port}"
        if ":" in backend.address
        else f"{backend.address}:{backend.port}"
    )


def _endpoint_chain(name: str, backend: Backend, protocol: Protocol) -> Chain:
    """A pod that reached itself is masqueraded; everybody goes to the pod."""
    hairpin = _rule(AddressMatch(_SADDR, host_prefix(backend.address)), Jump(MARK_MASQ))
    return Chain(name, (hairpin, _rule(Dnat(backend.address, backend.port, protocol))))


def _host_port_pieces(intent: HostPortIntent) -> Iterator[Piece]:
    name = build_chain_name("BERTH-HP-", intent.name, intent.protocol.name, str(intent.host_port))
    where = (AddressMatch(_DADDR, host_prefix(intent.host_address)),) if intent.host_address else ()
    statements = (*where, PortMatch(intent.protocol, intent.host_port), Jump(name))
    yield SharedRule(NAT, HOST_PORTS, Rule(statements, intent.name))
    yield OwnChain(NAT, _endpoint_chain(name, intent.backend, intent.protocol))
