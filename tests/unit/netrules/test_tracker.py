"""The tracker: small changes make small transactions, and every transaction leads to the wanted ruleset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netrules.iptables.layout import ChainLayout
from netrules.model import Family, Protocol
from netrules.nftables.layout import FlatLayout
from netrules.services import Backend, HostPortIntent, Layout, RulesetSettings, ServiceIntent, build_ruleset
from netrules.tracker import Tracker
from netrules.transaction import AddChain, DeleteChain, Transaction

SETTINGS = RulesetSettings(Family.IPV4, ("10.244.0.0/16",))


def _service(number: int, endpoints: int, node_port: int = 0) -> ServiceIntent:
    return ServiceIntent(
        name=f"default/s{number}",
        protocol=Protocol.TCP,
        port=80,
        cluster_addresses=(f"10.96.{number >> 8}.{number & 255}",),
        node_port=node_port,
        endpoints=tuple(Backend(f"10.244.1.{n}", 8080, local=False) for n in range(1, endpoints + 1)),
    )


def _loaded(layout: Layout, services: int, endpoints: int = 5) -> Tracker:
    tracker = Tracker(layout)
    for number in range(services):
        tracker.set_intents(f"s{number}", (_service(number, endpoints),))
    tracker.take_transaction()
    return tracker


def _without_chains(transaction: Transaction) -> int:
    chains = [o for o in transaction.operations if isinstance(o, AddChain | DeleteChain)]
    return transaction.size - Transaction(transaction.family, tuple(chains)).size


@pytest.mark.parametrize("layout", [FlatLayout(SETTINGS), ChainLayout(SETTINGS)], ids=["flat", "chains"])
def test_the_same_intents_again_change_nothing(layout: Layout) -> None:
    tracker = _loaded(layout, 3)
    tracker.set_intents("s1", (_service(1, 5),))
    assert not tracker.take_transaction()


def test_an_endpoint_replaced_is_two_elements_whatever_else_there_is() -> None:
    sizes = set()
    for services in (10, 500):
        tracker = _loaded(FlatLayout(SETTINGS), services)
        changed = _service(1, 5)
        replaced = replace(
            changed, endpoints=(*changed.endpoints[1:], Backend("10.244.9.9", 8080, local=False))
        )
        tracker.set_intents("s1", (replaced,))
        sizes.add(tracker.take_transaction().size)
    assert sizes == {2}


def test_an_endpoint_more_is_its_element_and_the_services_verdict() -> None:
    tracker = _loaded(FlatLayout(SETTINGS), 10)
    tracker.set_intents("s1", (_service(1, 6),))
    assert _without_chains(tracker.take_transaction()) == 3


def test_chains_for_a_count_come_with_the_first_service_and_go_with_the_last() -> None:
    tracker = Tracker(FlatLayout(SETTINGS))
    tracker.set_intents("s1", (_service(1, 3),))
    tracker.set_intents("s2", (_service(2, 3),))
    assert "spread-3" in tracker.ruleset().tables["berth"].chains
    tracker.set_intents("s1", ())
    assert "spread-3" in tracker.ruleset().tables["berth"].chains
    tracker.take_transaction()
    tracker.set_intents("s2", ())
    assert DeleteChain("berth", "spread-3") in tracker.take_transaction().operations


def test_a_change_taken_back_before_it_was_taken_cancels_out() -> None:
    tracker = _loaded(FlatLayout(SETTINGS), 3)
    tracker.set_intents("s1", (_service(1, 9),))
    tracker.set_intents("s1", (_service(1, 5),))
    assert not tracker.take_transaction()


def test_endpoints_known_from_the_kernel_keep_their_places() -> None:
    layout = FlatLayout(SETTINGS)
    service = _service(1, 4)
    shuffled = replace(service, endpoints=service.endpoints[::-1])
    observed = build_ruleset(layout, (shuffled,))
    tracker = Tracker(layout, layout.endpoint_order(observed))
    tracker.set_intents("s1", (service,))
    assert tracker.ruleset() == observed


@pytest.mark.parametrize("layout", [FlatLayout(SETTINGS), ChainLayout(SETTINGS)], ids=["flat", "chains"])
def test_order_of_endpoints_is_read_from_either_layout(layout: Layout) -> None:
    service = replace(_service(1, 4, node_port=30001), endpoints=_service(1, 4).endpoints[::-1])
    order = layout.endpoint_order(build_ruleset(layout, (service,)))
    assert {frontend.port for frontend in order} == {80, 30001}
    for backends in order.values():
        assert [b.address for b in backends] == [b.address for b in service.endpoints]


def test_a_frontend_belongs_to_the_first_who_claims_it_until_that_one_leaves() -> None:
    layout = FlatLayout(SETTINGS)
    tracker = Tracker(layout)
    first = replace(_service(1, 1), external_addresses=("203.0.113.1",))
    second = replace(_service(2, 2), external_addresses=("203.0.113.1",))
    tracker.set_intents("s1", (first,))
    tracker.set_intents("s2", (second,))
    assert tracker.ruleset() == build_ruleset(layout, (first, replace(second, external_addresses=())))
    tracker.set_intents("s1", ())
    assert tracker.ruleset() == build_ruleset(layout, (second,))


def test_a_host_port_taken_twice_stays_with_the_first() -> None:
    tracker = Tracker(FlatLayout(SETTINGS))
    for pod in ("10.244.1.7", "10.244.1.8"):
        intent = HostPortIntent(name=pod, protocol=Protocol.TCP, host_port=80, backend=Backend(pod, 8080))
        tracker.set_intents(pod, (intent,))
    elements = tracker.ruleset().tables["berth"].elements["any-host-ports"]
    assert dict(elements) == {(Protocol.TCP, 80): ("10.244.1.7", 8080)}
