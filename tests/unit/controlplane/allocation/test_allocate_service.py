"""Cluster IPs and node ports: what is chosen, kept, refused and given back."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.allocation import (
    Allocation,
    Ranges,
    Taken,
    allocate_service,
    choose_cluster_ip,
    choose_node_port,
    compute_lower_band,
    prepare_service_update,
)
from controlplane.apiserver.defaults import apply_defaults

RANGES = Ranges((ip_network("10.96.0.0/24"),), range(30_000, 30_100))


def service(**spec: Any) -> dict[str, Any]:
    ports = spec.pop("ports", [{"port": 80}])
    return apply_defaults("Service", {"metadata": {"name": "s"}, "spec": {"ports": ports, **spec}})


def allocate(
    given: dict[str, Any],
    old: dict[str, Any] | None = None,
    taken: Taken | None = None,
    ranges: Ranges = RANGES,
) -> Allocation:
    return allocate_service(given, old, taken or Taken(), ranges, Random(7))


def explain(allocation: Allocation) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in allocation.causes]


def test_a_new_service_gets_an_address_from_the_upper_band() -> None:
    allocation = allocate(service())
    spec = allocation.document["spec"]
    assert allocation.causes == ()
    assert spec["clusterIPs"] == [spec["clusterIP"]] == list(allocation.addresses)
    assert 16 < int(spec["clusterIP"].rpartition(".")[2]) < 255
    assert allocation.node_ports == ()


def test_a_chosen_address_is_taken_as_it_is() -> None:
    allocation = allocate(service(clusterIP="10.96.0.1"))
    assert allocation.addresses == ("10.96.0.1",)
    assert allocation.causes == ()


def test_a_reserved_address_is_only_for_who_asks() -> None:
    ranges = Ranges((ip_network("10.96.0.0/30"),), reserved_addresses=frozenset({"10.96.0.2"}))
    taken = Taken(addresses={"10.96.0.1"})
    assert explain(allocate(service(), taken=taken, ranges=ranges)) == [
        ("spec.clusterIPs", "Invalid value: []: failed to allocate IP: range is full")
    ]
    assert allocate(service(clusterIP="10.96.0.2"), taken=taken, ranges=ranges).addresses == ("10.96.0.2",)


def test_headless() -> None:
    allocation = allocate(service(clusterIP="None", selector={"a": "b"}))
    assert allocation.document["spec"]["clusterIPs"] == ["None"]
    assert (allocation.addresses, allocation.causes) == ((), ())


def test_external_name_has_no_address() -> None:
    allocation = allocate(service(type="ExternalName", externalName="example.com"))
    assert "clusterIP" not in allocation.document["spec"]
    assert allocation.addresses == ()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (
            "10.97.0.1",
            "failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. "
            "The range of valid IPs is 10.96.0.0/24",
        ),
        ("10.96.0.0", "is not in the valid range"),
        ("10.96.0.255", "is not in the valid range"),
        ("fd00::1", "is not in the valid range"),
        ("10.96.0.9", "failed to allocate IP 10.96.0.9: provided IP is already allocated"),
    ],
)
def test_an_address_that_can_not_be_had(address: str, says: str) -> None:
    allocation = allocate(service(clusterIP=address), taken=Taken(frozenset({"10.96.0.9"})))
    ((field, message),) = explain(allocation)
    assert field == "spec.clusterIPs"
    assert message.startswith(f'Invalid value: ["{address}"]: ')
    assert says in message


def test_a_full_network_says_so() -> None:
    everything = frozenset(str(address) for address in ip_network("10.96.0.0/24").hosts())
    assert explain(allocate(service(), taken=Taken(everything))) == [
        ("spec.clusterIPs", "Invalid value: []: failed to allocate IP: range is full")
    ]


def test_the_lower_band_serves_when_the_upper_one_is_full() -> None:
    upper = frozenset(f"10.96.0.{number}" for number in range(17, 255))
    assert 0 < int(allocate(service(), taken=Taken(upper)).addresses[0].rpartition(".")[2]) <= 16


def test_the_family_decides_the_network() -> None:
    ranges = Ranges((ip_network("10.96.0.0/24"), ip_network("fd00::/64")))
    (address,) = allocate(service(ipFamilies=["IPv6"]), ranges=ranges).addresses
    assert address.startswith("fd00::")


def test_node_ports_are_given_to_ports_without() -> None:
    given = service(
        type="NodePort", ports=[{"port": 80, "name": "a", "nodePort": 30_005}, {"port": 81, "name": "b"}]
    )
    first, second = allocate(given).node_ports
    assert first == 30_005
    assert second in RANGES.node_ports
    assert second != first


def test_two_protocols_of_one_port_share_a_node_port() -> None:
    ports = [{"port": 53, "name": "a", "protocol": "UDP"}, {"port": 53, "name": "b", "protocol": "TCP"}]
    first, second = allocate(service(type="NodePort", ports=ports)).node_ports
    assert first == second


@pytest.mark.parametrize(
    ("port", "says"),
    [
        (80, "provided port is not in the valid range. The range of valid ports is 30000-30099"),
        (30_007, "provided port is already allocated"),
    ],
)
def test_a_node_port_that_can_not_be_had(port: int, says: str) -> None:
    given = service(type="NodePort", ports=[{"port": 80, "nodePort": port}])
    allocation = allocate(given, taken=Taken(node_ports=frozenset({30_007})))
    assert explain(allocation) == [("spec.ports[0].nodePort", f"Invalid value: {port}: {says}")]


def test_no_node_port_left() -> None:
    allocation = allocate(service(type="NodePort"), taken=Taken(node_ports=RANGES.node_ports))
    assert [field for field, _ in explain(allocation)] == ["spec.ports[0].nodePort"]


def test_a_load_balancer_may_do_without_node_ports() -> None:
    given = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert allocate(given).node_ports == ()
    assert len(allocate(service(type="LoadBalancer")).node_ports) == 1


def stored(**spec: Any) -> dict[str, Any]:
    return allocate(service(**spec)).document


def update(old: dict[str, Any], **spec: Any) -> Allocation:
    """As the registry does: carry over, default, allocate; what the Service holds is among what is taken."""
    ports = spec.pop("ports", [{"port": 80}])
    given = {"metadata": {"name": "s"}, "spec": {"ports": ports, **spec}}
    new = apply_defaults("Service", prepare_service_update(given, old))
    held = {port["nodePort"] for port in old["spec"]["ports"] if port.get("nodePort")}
    return allocate(new, old, Taken(frozenset(old["spec"].get("clusterIPs", ())), frozenset(held)))


def test_an_update_keeps_address_and_node_ports() -> None:
    old = stored(type="NodePort")
    allocation = update(old, type="NodePort")
    assert allocation.causes == ()
    assert allocation.document["spec"] == old["spec"]


def test_a_full_update_keeps_what_it_names() -> None:
    old = stored(type="NodePort")
    allocation = update(old, **old["spec"])
    assert allocation.document["spec"] == old["spec"]


def test_node_ports_are_kept_by_the_ports_name() -> None:
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    old = stored(type="NodePort", ports=ports)
    swapped = update(old, type="NodePort", ports=[{"port": 81, "name": "b"}, {"port": 8080, "name": "a"}])
    first, second = old["spec"]["ports"]
    assert swapped.node_ports == (second["nodePort"], first["nodePort"])


def test_becoming_a_cluster_ip_service_gives_the_node_ports_back() -> None:
    old = stored(type="NodePort")
    allocation = update(old, **{**old["spec"], "type": "ClusterIP"})
    spec = allocation.document["spec"]
    assert allocation.node_ports == ()
    assert "externalTrafficPolicy" not in spec
    assert spec["clusterIP"] == old["spec"]["clusterIP"]


def test_a_change_of_the_singular_cluster_ip_reaches_validation() -> None:
    old = stored()
    new = prepare_service_update({"spec": {**old["spec"], "clusterIP": "10.96.0.99"}}, old)
    assert new["spec"]["clusterIPs"] == ["10.96.0.99"]


def test_becoming_an_external_name_gives_the_address_back() -> None:
    old = stored()
    allocation = update(old, **{**old["spec"], "type": "ExternalName", "externalName": "example.com"})
    spec = allocation.document["spec"]
    assert allocation.addresses == ()
    assert {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}.isdisjoint(spec)


def test_becoming_a_node_port_service_gets_node_ports() -> None:
    old = stored()
    allocation = update(old, type="NodePort")
    assert len(allocation.node_ports) == 1
    assert allocation.addresses == (old["spec"]["clusterIP"],)


@pytest.mark.parametrize(("size", "wanted"), [(10, 0), (16, 16), (254, 16), (4096, 256), (65_534, 256)])
def test_lower_band(size: int, wanted: int) -> None:
    assert compute_lower_band(size, minimum=16, maximum=256, share=16) == wanted


def test_every_address_can_be_chosen_once() -> None:
    network, taken = ip_network("10.96.0.0/27"), set[str]()
    random = Random(1)
    while (address := choose_cluster_ip(network, lambda text: text not in taken, random)) is not None:
        taken.add(address)
    assert taken == {str(address) for address in network.hosts()}


def test_every_port_can_be_chosen_once() -> None:
    ports, taken = range(30_000, 30_050), set[int]()
    random = Random(1)
    while (port := choose_node_port(ports, lambda number: number not in taken, random)) is not None:
        taken.add(port)
    assert taken == set(ports)


def test_the_service_given_is_not_changed() -> None:
    given = service(type="NodePort")
    before = {**given, "spec": {**given["spec"]}}
    allocate(given)
    assert given == before
    assert "nodePort" not in given["spec"]["ports"][0]
