"""A Service, its pods and its slices, one fact changed, and what the plan makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.actions import Create, Delete, MergePatch, Plan
from controlplane.controllers.endpointslice.endpoints import group_by_ports
from controlplane.controllers.endpointslice.plan import ObservedService, plan_endpoint_slices
from kubeapi.core import Service, ServicePort
from kubeapi.discovery import Endpoint, EndpointPort, EndpointSlice
from kubeapi.pod import ContainerPort, Pod, PodIP
from kubeapi.resources import ENDPOINT_SLICES
from tests.builders import NOW, at, changed, condition, container, endpoint_slice, pod, service

GOOD = service()
PORTS = (EndpointPort(name="http", protocol="TCP", port=80),)


def web_pod(number: int, **parts: Any) -> Pod:
    address = f"10.244.1.{number}"
    status = {"pod_ip": address, "pod_ips": (PodIP(ip=address),), **parts.pop("status", {})}
    return pod(f"web-{number}", status=status, **parts)


def endpoints_of(*pods: Pod, of: Service = GOOD) -> tuple[Endpoint, ...]:
    groups = group_by_ports(of, pods, "IPv4", {})
    return tuple(endpoint for group in groups.values() for endpoint in group.values())


def slice_of(name: str, *pods: Pod, ports: tuple[EndpointPort, ...] = PORTS) -> EndpointSlice:
    return endpoint_slice(name, GOOD, endpoints=endpoints_of(*pods), ports=ports)


def plan(of: Service, pods: tuple[Pod, ...], *slices: EndpointSlice, **observed: Any) -> Plan:
    return plan_endpoint_slices(ObservedService(of, pods, slices, **observed), NOW)


WEB = (web_pod(2), web_pod(3))


def test_slices_that_hold_every_pod_need_nothing() -> None:
    assert plan(GOOD, WEB, slice_of("web-x", *WEB)) == Plan(())


def test_a_new_service_gets_one_slice() -> None:
    (create,) = plan(GOOD, WEB).actions
    assert isinstance(create, Create)
    metadata = create.body["metadata"]
    assert create.resource is ENDPOINT_SLICES
    assert metadata["labels"] == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert metadata["annotations"] == {"endpoints.kubernetes.io/last-change-trigger-time": at(-60)}
    assert metadata["ownerReferences"][0]["uid"] == GOOD.metadata.uid
    assert create.body["addressType"] == "IPv4"
    assert create.body["ports"] == [{"name": "http", "protocol": "TCP", "port": 80}]
    assert create.body["endpoints"][0] == {
        "addresses": ("10.244.1.2",),
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-2", "uid": "uid-web-2"},
        "nodeName": "node-1",
    }


def test_one_pods_change_rewrites_its_slice_alone() -> None:
    unready = web_pod(3, status={"conditions": (condition("Ready", "False", since=-2),)})
    first, second = slice_of("web-x", WEB[0]), slice_of("web-y", WEB[1])
    (patch,) = plan(GOOD, (WEB[0], unready), first, second).actions
    assert isinstance(patch, MergePatch)
    assert patch.key.name == "web-y"
    (endpoint,) = patch.body["endpoints"]
    assert endpoint["conditions"] == {"ready": False, "serving": False, "terminating": False}
    assert patch.body["metadata"]["annotations"] == {
        "endpoints.kubernetes.io/last-change-trigger-time": at(-2)
    }


@pytest.mark.parametrize(
    ("published", "is_ready", "dying", "conditions"),
    [
        (False, True, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (False, True, True, (False, True, True)),
        (True, False, False, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_ready_serving_terminating(
    published: bool, is_ready: bool, dying: bool, conditions: tuple[bool, bool, bool]
) -> None:
    of = service(spec={"publish_not_ready_addresses": published})
    status = {"conditions": (condition("Ready", "True" if is_ready else "False"),)}
    each = web_pod(2, status=status, metadata={"deletion_timestamp": at(-1) if dying else None})
    (endpoint,) = endpoints_of(each, of=of)
    assert (
        endpoint.conditions.ready,
        endpoint.conditions.serving,
        endpoint.conditions.terminating,
    ) == conditions


def test_a_finished_pod_and_one_without_address_are_no_endpoints() -> None:
    finished = web_pod(4, status={"phase": "Succeeded"})
    nowhere = web_pod(5, status={"pod_ips": ()})
    assert plan(GOOD, (*WEB, finished, nowhere), slice_of("web-x", *WEB)) == Plan(())


def test_a_new_pod_fills_the_fullest_slice_that_has_room() -> None:
    full = tuple(web_pod(number) for number in range(2, 102))
    lots = tuple(web_pod(number) for number in range(110, 113))
    slices = (slice_of("full", *full), slice_of("few", *lots[:1]), slice_of("more", *lots[1:]))
    (patch,) = plan(GOOD, (*full, *lots, web_pod(120)), *slices).actions
    assert isinstance(patch, MergePatch)
    assert patch.key.name == "more"
    assert len(patch.body["endpoints"]) == 3


def test_no_slice_holds_more_than_a_hundred() -> None:
    pods = tuple(web_pod(number) for number in range(2, 252))
    sizes = [len(each.body["endpoints"]) for each in plan(GOOD, pods).actions if isinstance(each, Create)]
    assert sizes == [100, 100, 50]


def test_the_last_slice_is_emptied_and_kept() -> None:
    (patch,) = plan(GOOD, (), slice_of("web-x", *WEB)).actions
    assert isinstance(patch, MergePatch)
    assert (patch.body["ports"], patch.body["endpoints"]) == ([], [])
    assert plan(GOOD, (), endpoint_slice("web-x", GOOD)) == Plan(())


def test_the_empty_slice_is_filled_instead_of_a_new_one() -> None:
    (patch,) = plan(GOOD, WEB, endpoint_slice("web-x", GOOD)).actions
    assert isinstance(patch, MergePatch)
    assert len(patch.body["endpoints"]) == 2
    assert patch.body["ports"] == [{"name": "http", "protocol": "TCP", "port": 80}]


def test_a_surplus_empty_slice_goes() -> None:
    (delete,) = plan(GOOD, WEB, slice_of("web-x", *WEB), endpoint_slice("web-y", GOOD)).actions
    assert delete == Delete(ENDPOINT_SLICES, endpoint_slice("web-y", GOOD).key, "uid-web-y")


def test_a_pod_in_two_slices_is_kept_once() -> None:
    (patch,) = plan(GOOD, WEB, slice_of("web-x", *WEB), slice_of("web-y", WEB[0])).actions
    assert isinstance(patch, Delete)
    assert patch.key.name == "web-y"


def test_a_named_port_may_be_another_number_in_each_pod() -> None:
    other = container(ports=(ContainerPort(name="http", container_port=8080),))
    creates = plan(GOOD, (web_pod(2), web_pod(3, spec={"containers": (other,)}))).actions
    ports = [each.body["ports"][0]["port"] for each in creates if isinstance(each, Create)]
    assert sorted(ports) == [80, 8080]


def test_a_headless_service_without_ports_still_names_its_pods() -> None:
    of = service(spec={"cluster_ip": "None", "ports": ()})
    member = web_pod(2, spec={"hostname": "web-2", "subdomain": "web"})
    (create,) = plan(of, (member,)).actions
    assert isinstance(create, Create)
    assert create.body["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert create.body["ports"] == []
    assert create.body["endpoints"][0]["hostname"] == "web-2"


def test_a_numbered_target_port_and_none_at_all() -> None:
    ports = (ServicePort(name="a", port=80, target_port=8080), ServicePort(name="b", port=81))
    (create,) = plan(service(spec={"ports": ports}), WEB).actions
    assert isinstance(create, Create)
    assert [each["port"] for each in create.body["ports"]] == [8080, 81]


def test_the_zone_comes_from_the_node() -> None:
    (create,) = plan(GOOD, WEB[:1], zones={"node-1": "north"}).actions
    assert isinstance(create, Create)
    assert create.body["endpoints"][0]["zone"] == "north"


def test_services_that_others_look_after_are_left_alone() -> None:
    for of in (service(spec={"selector": {}}), service(spec={"type": "ExternalName"})):
        assert plan(of, WEB) == Plan(())


def test_slices_of_a_family_that_the_service_lost_go() -> None:
    old = changed(slice_of("web-6"), address_type="IPv6")
    delete, *rest = plan(GOOD, WEB, old, slice_of("web-x", *WEB)).actions
    assert isinstance(delete, Delete)
    assert delete.key.name == "web-6"
    assert rest == []
