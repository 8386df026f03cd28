"""Which UDP flows a change leaves behind."""

from __future__ import annotations

from dataclasses import replace

from netrules.conntrack import StaleFlows, plan_stale_flows
from netrules.model import Protocol
from netrules.services import Backend, ServiceIntent

A, B = Backend("10.244.1.2", 53), Backend("10.244.1.3", 53)
DNS = ServiceIntent(
    name="default/dns",
    protocol=Protocol.UDP,
    port=53,
    cluster_addresses=("10.96.0.2",),
    node_port=30053,
    endpoints=(A, B),
)
GONE_B = frozenset({("10.244.1.3", 53)})
BOTH = frozenset({("10.244.1.2", 53), ("10.244.1.3", 53)})


def test_nothing_changed_means_nothing_to_forget() -> None:
    assert plan_stale_flows((DNS,), (DNS,)) == ()


def test_an_endpoint_more_leaves_flows_alone() -> None:
    assert plan_stale_flows((replace(DNS, endpoints=(A,)),), (DNS,)) == ()


def test_flows_to_an_endpoint_that_left_are_stale_at_every_frontend() -> None:
    assert plan_stale_flows((DNS,), (replace(DNS, endpoints=(A,)),)) == (
        StaleFlows("10.96.0.2", 53, to=GONE_B),
        StaleFlows("", 30053, to=GONE_B),
    )


def test_all_flows_of_a_deleted_service_are_stale() -> None:
    assert plan_stale_flows((DNS,), ()) == (
        StaleFlows("10.96.0.2", 53, to=BOTH),
        StaleFlows("", 30053, to=BOTH),
    )


def test_first_endpoints_end_flows_that_went_elsewhere() -> None:
    empty = replace(DNS, endpoints=())
    expected = (StaleFlows("10.96.0.2", 53, keep=BOTH),)
    assert plan_stale_flows((empty,), (DNS,)) == expected
    assert plan_stale_flows((), (DNS,)) == expected


def test_tcp_is_left_alone() -> None:
    tcp = replace(DNS, protocol=Protocol.TCP)
    assert plan_stale_flows((tcp,), ()) == ()
    assert plan_stale_flows((), (tcp,)) == ()
