"""What Services, EndpointSlices and pods ask of the rules."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from agent.pods.ports import HostPort, RunningPod
from agent.proxy.plan import ProxyNode, find_service_key, plan_host_ports, plan_service
from kubeapi.core import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.pod import PodUID
from netrules.model import Family, Protocol
from netrules.services import Backend, HostPortIntent, Intent, ServiceIntent

NODE = ProxyNode("n1", "10.96.0.10")
SPEC = ServiceSpec(
    cluster_ip="10.96.0.1",
    cluster_ips=("10.96.0.1",),
    ports=(ServicePort(name="http", protocol="TCP", port=80, target_port=8080),),
)
SERVICE = Service(metadata=ObjectMeta(namespace="default", name="web"), spec=SPEC)
HERE = Endpoint(addresses=("10.244.1.2",), conditions=EndpointConditions(ready=True), node_name="n1")
THERE = Endpoint(addresses=("10.244.2.2",), conditions=EndpointConditions(ready=True), node_name="n2")
SLICE = EndpointSlice(
    metadata=ObjectMeta(namespace="default", name="web-abc", labels={"kubernetes.io/service-name": "web"}),
    endpoints=(THERE, HERE),
    ports=(EndpointPort(name="http", protocol="TCP", port=8080),),
)
INTENT = ServiceIntent(
    name="default/web:http",
    protocol=Protocol.TCP,
    port=80,
    cluster_addresses=("10.96.0.1",),
    endpoints=(Backend("10.244.1.2", 8080, local=True), Backend("10.244.2.2", 8080, local=False)),
)


def _plan(spec: ServiceSpec = SPEC, *slices: EndpointSlice) -> tuple[Intent, ...]:
    service = msgspec.structs.replace(SERVICE, spec=spec)
    return plan_service(service, slices or (SLICE,), NODE, Family.IPV4)


def _spec(**changes: object) -> ServiceSpec:
    return msgspec.structs.replace(SPEC, **changes)


def _slice(*endpoints: Endpoint, **changes: object) -> EndpointSlice:
    return msgspec.structs.replace(SLICE, endpoints=endpoints, **changes)


def _endpoint(address: str, ready: bool | None, serving: bool | None, terminating: bool | None) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    return Endpoint(addresses=(address,), conditions=conditions, node_name="n1")


def _addresses(intents: tuple[Intent, ...]) -> list[str]:
    (intent,) = intents
    assert isinstance(intent, ServiceIntent)
    return [backend.address for backend in intent.endpoints]


def test_cluster_ip_service() -> None:
    assert _plan() == (INTENT,)


@pytest.mark.parametrize(
    "spec",
    [
        _spec(cluster_ip="None", cluster_ips=("None",)),
        _spec(cluster_ip="", cluster_ips=()),
        _spec(type="ExternalName", external_name="example.org"),
        _spec(cluster_ip="fd00:96::1", cluster_ips=("fd00:96::1",)),
    ],
    ids=["headless", "no address yet", "external name", "other family"],
)
def test_services_without_rules(spec: ServiceSpec) -> None:
    assert _plan(spec) == ()


def test_service_of_another_proxy_is_left_alone() -> None:
    labels = {"service.kubernetes.io/service-proxy-name": "mesh"}
    service = msgspec.structs.replace(
        SERVICE, metadata=ObjectMeta(namespace="default", name="web", labels=labels)
    )
    assert plan_service(service, (SLICE,), NODE, Family.IPV4) == ()


def test_node_port_only_for_the_types_that_have_one() -> None:
    ports = (msgspec.structs.replace(SPEC.ports[0], node_port=30080),)
    assert _plan(_spec(type="NodePort", ports=ports)) == (replace(INTENT, node_port=30080),)
    assert _plan(_spec(type="ClusterIP", ports=ports)) == (INTENT,)


def test_ports_are_matched_by_name_and_protocol() -> None:
    ports = (
        ServicePort(name="http", protocol="TCP", port=80),
        ServicePort(name="dns", protocol="UDP", port=53),
        ServicePort(name="none", protocol="TCP", port=99),
    )
    more = _slice(HERE, ports=(EndpointPort(name="dns", protocol="UDP", port=5353),))
    planned = _plan(_spec(ports=ports), SLICE, more)
    assert planned == (
        INTENT,
        replace(
            INTENT,
            name="default/web:dns",
            protocol=Protocol.UDP,
            port=53,
            endpoints=(Backend("10.244.1.2", 5353),),
        ),
        replace(INTENT, name="default/web:none", port=99, endpoints=()),
    )


def test_unready_endpoints_are_not_used() -> None:
    unready = _endpoint("10.244.1.9", ready=False, serving=False, terminating=False)
    assert _addresses(_plan(SPEC, _slice(unready, HERE))) == ["10.244.1.2"]
    assert _addresses(_plan(SPEC, _slice(unready))) == []


def test_unknown_readiness_counts_as_ready() -> None:
    assert _addresses(_plan(SPEC, _slice(_endpoint("10.244.1.9", None, None, None)))) == ["10.244.1.9"]


def test_terminating_endpoints_serve_only_when_there_are_no_others() -> None:
    leaving = _endpoint("10.244.1.8", ready=False, serving=True, terminating=True)
    gone = _endpoint("10.244.1.9", ready=False, serving=False, terminating=True)
    assert _addresses(_plan(SPEC, _slice(leaving, gone, HERE))) == ["10.244.1.2"]
    assert _addresses(_plan(SPEC, _slice(leaving, gone))) == ["10.244.1.8"]


def test_an_endpoint_in_two_slices_counts_once() -> None:
    assert _addresses(_plan(SPEC, SLICE, SLICE)) == ["10.244.1.2", "10.244.2.2"]


def test_internal_policy_local_narrows_the_cluster_address() -> None:
    (intent,) = _plan(_spec(internal_traffic_policy="Local"))
    here = INTENT.endpoints[:1]
    assert intent == replace(INTENT, endpoints=here, external_endpoints=INTENT.endpoints)


def test_external_policy_local_narrows_the_outside_and_keeps_the_client() -> None:
    ports = (msgspec.structs.replace(SPEC.ports[0], node_port=30080),)
    (intent,) = _plan(_spec(type="NodePort", ports=ports, external_traffic_policy="Local"))
    here = INTENT.endpoints[:1]
    assert intent == replace(INTENT, node_port=30080, external_endpoints=here, preserve_client=True)


def test_load_balancer_addresses_and_external_ips_once_each() -> None:
    ingress = (
        LoadBalancerIngress(ip="203.0.113.1"),
        LoadBalancerIngress(ip="203.0.113.2", ip_mode="Proxy"),
        LoadBalancerIngress(hostname="lb.example.org"),
    )
    service = msgspec.structs.replace(
        SERVICE,
        spec=_spec(type="LoadBalancer", external_ips=("203.0.113.1", "198.51.100.1", "fd00::1")),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )
    (intent,) = plan_service(service, (SLICE,), NODE, Family.IPV4)
    assert intent == replace(INTENT, external_addresses=("203.0.113.1", "198.51.100.1"))


def test_cluster_dns_without_pods_is_the_nodes_own() -> None:
    spec = _spec(cluster_ip="10.96.0.10", cluster_ips=("10.96.0.10",))
    assert _plan(spec, _slice()) == ()
    assert _addresses(_plan(spec)) == ["10.244.1.2", "10.244.2.2"]


def test_slices_of_headless_services_and_of_nobody_are_ignored() -> None:
    def labelled(**labels: str) -> EndpointSlice:
        named = {name.replace("__", "/").replace("_", "-"): value for name, value in labels.items()}
        return msgspec.structs.replace(
            SLICE, metadata=ObjectMeta(namespace="default", name="s", labels=named)
        )

    assert find_service_key(SLICE) == ObjectKey("default", "web")
    assert find_service_key(labelled()) is None
    headless = {"kubernetes.io__service_name": "web", "service.kubernetes.io__headless": ""}
    assert find_service_key(labelled(**headless)) is None


POD = RunningPod(
    uid=PodUID("u1"),
    key=ObjectKey("default", "web-0"),
    pod_ips=("10.244.1.2", "fd00:244::2"),
    host_network=False,
    host_ports=(HostPort("TCP", "", 8088, 8080),),
    terminating=False,
)


def test_host_port_on_every_address() -> None:
    (intent,) = plan_host_ports(POD, Family.IPV4)
    assert intent == HostPortIntent(
        name="default/web-0 host port 8088",
        protocol=Protocol.TCP,
        host_port=8088,
        backend=Backend("10.244.1.2", 8080),
    )
    (intent,) = plan_host_ports(POD, Family.IPV6)
    assert isinstance(intent, HostPortIntent)
    assert intent.backend == Backend("fd00:244::2", 8080)


def test_host_port_on_one_address_belongs_to_its_family() -> None:
    pod = replace(POD, host_ports=(HostPort("UDP", "192.0.2.1", 53, 5353),))
    (intent,) = plan_host_ports(pod, Family.IPV4)
    assert isinstance(intent, HostPortIntent)
    assert (intent.host_address, intent.protocol) == ("192.0.2.1", Protocol.UDP)
    assert plan_host_ports(pod, Family.IPV6) == ()


def test_pod_in_the_hosts_network_needs_no_host_ports() -> None:
    assert plan_host_ports(replace(POD, host_network=True), Family.IPV4) == ()
    assert plan_host_ports(replace(POD, pod_ips=()), Family.IPV4) == ()
