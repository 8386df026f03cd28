"""Routes to other nodes' pods: which are wanted, and the difference to those present."""

from __future__ import annotations

import pytest

from agent.podnetwork.routes import PodRoute, RouteChange, compute_routes, diff_routes
from kubeapi.core import Node, NodeAddress, NodeSpec, NodeStatus
from kubeapi.meta import ObjectMeta


def node(name: str, cidrs: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidrs[0] if cidrs else "", pod_cidrs=cidrs),
        status=NodeStatus(
            addresses=tuple(NodeAddress(type="InternalIP", address=address) for address in addresses)
        ),
    )


OWN = node("n1", ("10.244.0.0/24",), ("192.0.2.1",))
OTHER = node("n2", ("10.244.1.0/24",), ("192.0.2.2",))
ROUTE = PodRoute("10.244.1.0/24", "192.0.2.2")


def test_another_node_gets_a_route_and_this_one_none() -> None:
    assert compute_routes([OWN, OTHER], "n1") == {ROUTE}


@pytest.mark.parametrize(
    "other",
    [
        node("n2", (), ("192.0.2.2",)),
        node("n2", ("10.244.1.0/24",), ()),
        node("n2", ("10.244.1.0/24",), ("2001:db8::2",)),
        node("n2", ("nonsense",), ("192.0.2.2",)),
        node("n2", ("10.244.1.0/24",), ("nonsense",)),
    ],
    ids=["no CIDR", "no address", "no address of the family", "not a CIDR", "not an address"],
)
def test_a_node_that_is_not_ready_for_a_route_gets_none(other: Node) -> None:
    assert compute_routes([OWN, other], "n1") == frozenset()


def test_each_family_has_its_route() -> None:
    other = node("n2", ("10.244.1.0/24", "fd00:1::/64"), ("2001:db8::2", "192.0.2.2"))
    assert compute_routes([other], "n1") == {ROUTE, PodRoute("fd00:1::/64", "2001:db8::2")}


def test_nothing_to_do_when_the_routes_are_there() -> None:
    assert diff_routes(frozenset({ROUTE}), frozenset({ROUTE})) == RouteChange()


def test_a_gone_node_loses_its_route() -> None:
    assert diff_routes(frozenset(), frozenset({ROUTE})) == RouteChange(remove=(ROUTE,))


def test_a_moved_node_has_its_route_replaced_in_place() -> None:
    old = PodRoute(ROUTE.destination, "192.0.2.9")
    assert diff_routes(frozenset({ROUTE}), frozenset({old})) == RouteChange(replace=(ROUTE,))
