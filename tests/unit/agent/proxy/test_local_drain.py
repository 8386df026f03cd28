"""A pod that ends leaves the Services of its node before anybody tells its processes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from agent.pods.ports import RunningPod
from agent.proxy.changes import ServiceChanges
from agent.proxy.drain import LocalDrain, NoDrain
from agent.proxy.plan import ProxyNode, plan_service
from kubeapi.core import ObjectReference, Service, ServicePort, ServiceSpec
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.informer import Change
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.pod import PodUID
from netrules.model import Family
from netrules.services import ServiceIntent

WEB = ObjectKey("default", "web")
ENDING, OTHER = PodUID("uid-ending"), PodUID("uid-other")


def _endpoint(uid: PodUID, address: str, node: str = "n1", **conditions: bool) -> Endpoint:
    return Endpoint(
        addresses=(address,),
        conditions=EndpointConditions(**({"ready": True} | conditions)),
        node_name=node,
        target_ref=ObjectReference(kind="Pod", uid=uid),
    )


def _slice(*endpoints: Endpoint, name: str = "web-1") -> EndpointSlice:
    labels = {"kubernetes.io/service-name": "web"}
    return EndpointSlice(
        metadata=ObjectMeta(namespace="default", name=name, labels=labels),
        endpoints=endpoints,
        ports=(EndpointPort(protocol="TCP", port=8080),),
    )


def _running(uid: PodUID, *, terminating: bool = False) -> RunningPod:
    return RunningPod(uid, ObjectKey("default", uid), ("10.244.1.2",), False, (), terminating)


def _changes(*slices: EndpointSlice) -> ServiceChanges:
    changes = ServiceChanges("n1")
    for endpoint_slice in slices:
        changes.note_slice(Change(endpoint_slice.key, None, endpoint_slice))
    changes.take()
    return changes


BOTH = _slice(_endpoint(ENDING, "10.244.1.2"), _endpoint(OTHER, "10.244.1.3"))


def test_nothing_ends_and_nothing_changes() -> None:
    drain, changes = LocalDrain(), _changes(BOTH)
    drain.choose([_running(ENDING), _running(OTHER)], changes)
    assert changes.take() == ()
    assert drain.draining == frozenset()


def test_the_services_of_a_pod_that_ends_are_planned_again_once() -> None:
    drain, changes = LocalDrain(), _changes(BOTH)
    drain.choose([_running(ENDING, terminating=True)], changes)
    assert changes.take() == (WEB,)
    drain.choose([_running(ENDING, terminating=True)], changes)
    assert changes.take() == ()


def test_a_pod_is_released_only_when_the_rules_are_in_the_kernel() -> None:
    drain, changes, told = LocalDrain(), _changes(BOTH), list[PodUID]()
    drain.subscribe(told.append)
    drain.choose([_running(ENDING, terminating=True)], changes)
    assert not drain.is_released(ENDING)
    drain.note_applied()
    assert drain.is_released(ENDING)
    assert not drain.is_released(OTHER)
    drain.note_applied()
    assert told == [ENDING]


def test_rules_applied_before_the_pod_began_to_end_release_nothing() -> None:
    drain, changes = LocalDrain(), _changes(BOTH)
    drain.choose([_running(ENDING)], changes)
    drain.note_applied()
    assert not drain.is_released(ENDING)


def test_a_pod_that_is_gone_drains_on_while_a_slice_lists_it() -> None:
    drain, changes = LocalDrain(), _changes(BOTH)
    drain.choose([_running(ENDING, terminating=True)], changes)
    drain.choose([], changes)
    assert drain.draining == {ENDING}
    changes.note_slice(Change(BOTH.key, BOTH, _slice(_endpoint(OTHER, "10.244.1.3"))))
    drain.choose([], changes)
    assert drain.draining == frozenset()
    assert not drain.is_released(ENDING)


def test_a_static_pod_is_known_to_the_slices_by_its_mirror() -> None:
    mirror = PodUID("uid-mirror")
    endpoint = _endpoint(mirror, "10.244.1.2")
    named = msgspec.structs.replace(
        endpoint, target_ref=ObjectReference(kind="Pod", uid=mirror, namespace="default", name="static-n1")
    )
    drain, changes = LocalDrain(), _changes(_slice(named))
    static = replace(_running(ENDING, terminating=True), key=ObjectKey("default", "static-n1"), static=True)
    drain.choose([static], changes)
    assert drain.draining == {ENDING, mirror}
    drain.note_applied()
    assert drain.is_released(ENDING)
    changes.note_slice(Change(BOTH.key, _slice(named), None))
    assert changes.find_uid(static.key) is None


def test_pods_of_other_nodes_are_not_known_here() -> None:
    changes = _changes(_slice(_endpoint(ENDING, "10.244.2.2", node="n2")))
    assert changes.services_of(ENDING) == frozenset()


def test_a_pod_in_two_slices_is_forgotten_with_the_second() -> None:
    first, second = (_slice(_endpoint(ENDING, "10.244.1.2"), name=name) for name in ("web-1", "web-2"))
    changes = _changes(first, second)
    changes.note_slice(Change(first.key, first, None))
    assert changes.services_of(ENDING) == {WEB}
    changes.note_slice(Change(second.key, second, None))
    assert changes.services_of(ENDING) == frozenset()


@pytest.mark.parametrize(
    ("endpoints", "publish", "expected"),
    [
        pytest.param(BOTH.endpoints, False, ["10.244.1.3"], id="others are there"),
        pytest.param(BOTH.endpoints[:1], False, ["10.244.1.2"], id="it is the last that serves"),
        pytest.param(
            (_endpoint(ENDING, "10.244.1.2", ready=False), _endpoint(OTHER, "10.244.1.3", ready=False)),
            False,
            [],
            id="it didn't serve before either",
        ),
        pytest.param(BOTH.endpoints, True, ["10.244.1.2", "10.244.1.3"], id="not-ready ones are published"),
    ],
)
def test_where_new_connections_go(
    endpoints: tuple[Endpoint, ...], publish: bool, expected: list[str]
) -> None:
    spec = ServiceSpec(
        cluster_ip="10.96.0.1",
        cluster_ips=("10.96.0.1",),
        ports=(ServicePort(protocol="TCP", port=80),),
        publish_not_ready_addresses=publish,
    )
    service = Service(metadata=ObjectMeta(namespace="default", name="web"), spec=spec)
    slices = (msgspec.structs.replace(BOTH, endpoints=endpoints),)
    (intent,) = plan_service(service, slices, ProxyNode("n1"), Family.IPV4, {ENDING})
    assert isinstance(intent, ServiceIntent)
    assert [backend.address for backend in intent.endpoints] == expected


def test_without_rules_of_ours_there_is_nothing_to_wait_for() -> None:
    assert NoDrain().is_released(ENDING)
