from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lab.wiring import plan_bridge, plan_cable, plan_cut, plan_heal, plan_node

NETWORK = IPv4Network("10.99.0.0/16")
GATEWAY = IPv4Address("10.99.0.1")


def test_a_node_gets_its_address_before_the_route_that_needs_it() -> None:
    assert plan_node("10.99.0.11", NETWORK, GATEWAY) == (
        "link set lo up",
        "address add 10.99.0.11/16 dev eth0",
        "link set eth0 up",
        "route add default via 10.99.0.1",
    )


def test_a_cable_ends_in_the_node_s_namespace_and_on_the_bridge() -> None:
    assert plan_cable("n1", Path("/run/berth-lab-x/netns/n1")) == (
        "link add n1 type veth peer name eth0 netns /run/berth-lab-x/netns/n1",
        "link set n1 master br0",
        "link set n1 up",
    )


def test_the_bridge_forwards_at_once_and_is_the_gateway() -> None:
    lines = plan_bridge(GATEWAY, NETWORK)

    assert "link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0" in lines
    assert "address add 10.99.0.1/16 dev br0" in lines


def test_healing_undoes_a_cut_of_the_same_port() -> None:
    assert plan_cut("n1") == ("link set n1 down",)
    assert plan_heal("n1") == ("link set n1 up",)
