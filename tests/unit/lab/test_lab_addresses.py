from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.addresses import AddressPlan
from lab.errors import LabError

PLAN = AddressPlan()


def test_the_roles_have_the_addresses_that_the_documents_name() -> None:
    assert PLAN.gateway == IPv4Address("10.99.0.1")
    assert PLAN.server == IPv4Address("10.99.0.2")
    assert PLAN.node(1) == IPv4Address("10.99.0.11")
    assert PLAN.cluster_dns == IPv4Address("10.96.0.10")


def test_nodes_and_their_pods_never_share_an_address() -> None:
    nodes = {PLAN.node(index) for index in range(1, 101)}
    cidrs = {PLAN.pod_cidr(index) for index in range(1, 101)}

    assert len(nodes) == len(cidrs) == 100
    assert nodes.isdisjoint({PLAN.gateway, PLAN.server})
    assert all(cidr.subnet_of(PLAN.pods) and cidr.prefixlen == 24 for cidr in cidrs)


@pytest.mark.parametrize("index", [0, -1, 256])
def test_too_many_nodes_for_the_pod_network_is_a_sentence(index: int) -> None:
    with pytest.raises(LabError, match="no pod CIDR"):
        PLAN.pod_cidr(index)


def test_too_many_nodes_for_a_small_network_is_a_sentence() -> None:
    small = AddressPlan(nodes=IPv4Network("10.99.0.0/28"))

    assert small.node(4) == IPv4Address("10.99.0.14")
    with pytest.raises(LabError, match="ask for fewer nodes"):
        small.node(5)
