"""EndpointSlices, pod CIDRs and garbage from any state: applied, they rest; interrupted anywhere, they
still arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers.actions import Action, Create, Delete, MergePatch
from controlplane.controllers.caches import build_caches
from controlplane.controllers.endpointslice.plan import ObservedService, plan_endpoint_slices
from controlplane.controllers.execute import Executor
from controlplane.controllers.garbage.observe import GarbageReconciler
from controlplane.controllers.pod_cidr.observe import PodCIDRReconciler
from kubeapi.client import Client
from kubeapi.core import ObjectReference
from kubeapi.discovery import EndpointPort, EndpointSlice
from kubeapi.errors import KubeAPIError
from kubeapi.event_records import EventType
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod, PodIP
from kubeapi.resources import CONFIG_MAPS, NODES
from tests.builders import NOW, at, changed, condition, endpoint_slice, pod, service
from tests.fakes.api_memory import ApiMemory, Fault, merge

FAULTS = st.lists(st.sampled_from([Fault.NONE, Fault.LOST_BEFORE, Fault.LOST_AFTER]), max_size=12)


class Silence:
    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None: ...


# --- EndpointSlices -----------------------------------------------------------------------------------------

SERVICE = service()
PORT_CHOICES = ((), (EndpointPort(name="http", protocol="TCP", port=80),))


@st.composite
def pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    numbers = draw(st.lists(st.integers(2, 60), unique=True, max_size=30))
    return tuple(draw(pod_numbered(number)) for number in numbers)


@st.composite
def pod_numbered(draw: st.DrawFn, number: int) -> Pod:
    address = f"10.244.1.{number}"
    ready = condition("Ready", draw(st.sampled_from(["True", "False"])))
    dying = draw(st.sampled_from([None, None, at(-1)]))
    status = {"pod_ips": (PodIP(ip=address),), "conditions": (ready,)}
    return pod(f"web-{number}", status=status, metadata={"deletion_timestamp": dying})


@st.composite
def slices(draw: st.DrawFn) -> tuple[EndpointSlice, ...]:
    """Whatever an earlier, interrupted or older controller may have left: duplicates, strangers, nothing."""
    found = []
    for number in range(draw(st.integers(0, 4))):
        members = draw(pods())
        made = plan_endpoint_slices(ObservedService(SERVICE, members), NOW).actions
        ports = draw(st.sampled_from(PORT_CHOICES))
        left = endpoint_slice(f"web-{number}", SERVICE, ports=ports)
        found.append(changed(apply_creation(made[0]), metadata=left.metadata, ports=ports))
    return tuple(found)


def apply_creation(action: Action) -> EndpointSlice:
    assert isinstance(action, Create)
    return read_slice(action.body)


def read_slice(document: Mapping[str, Any]) -> EndpointSlice:
    return msgspec.json.decode(msgspec.json.encode(document), type=EndpointSlice)


def apply(existing: tuple[EndpointSlice, ...], actions: tuple[Action, ...]) -> tuple[EndpointSlice, ...]:
    documents = {each.metadata.name: msgspec.to_builtins(each) for each in existing}
    for action in actions:
        match action:
            case Create():
                assert action.key.name not in documents
                documents[action.key.name] = {**action.body}
            case MergePatch():
                documents[action.key.name] = merge(documents[action.key.name], action.body)
            case Delete():
                documents.pop(action.key.name)
            case _:
                raise AssertionError(action)
    return tuple(map(read_slice, documents.values()))


def read_members(existing: tuple[EndpointSlice, ...]) -> list[str]:
    return sorted(
        endpoint.target_ref.name for each in existing for endpoint in each.endpoints if endpoint.target_ref
    )


@settings(max_examples=100, deadline=None)
@given(pods(), slices(), st.integers(0, 5))
def test_slices_arrive_from_any_state_and_rest(
    members: tuple[Pod, ...], existing: tuple[EndpointSlice, ...], interrupted_after: int
) -> None:
    first = plan_endpoint_slices(ObservedService(SERVICE, members, existing), NOW)
    partly = apply(existing, first.actions[:interrupted_after])
    second = plan_endpoint_slices(ObservedService(SERVICE, members, partly), NOW + timedelta(seconds=1))
    arrived = apply(partly, second.actions)
    assert read_members(arrived) == sorted(each.metadata.name for each in members)
    assert plan_endpoint_slices(ObservedService(SERVICE, members, arrived), NOW).actions == ()


@settings(max_examples=60, deadline=None)
@given(pods(), st.data())
def test_one_pods_change_is_one_write(members: tuple[Pod, ...], data: st.DataObject) -> None:
    if not members:
        return
    arrived = apply((), plan_endpoint_slices(ObservedService(SERVICE, members), NOW).actions)
    index = data.draw(st.integers(0, len(members) - 1))
    number = int(members[index].metadata.name.removeprefix("web-"))
    after = (*members[:index], data.draw(pod_numbered(number)), *members[index + 1 :])
    assert len(plan_endpoint_slices(ObservedService(SERVICE, after, arrived), NOW).actions) <= 1


# --- pod CIDRs ----------------------------------------------------------------------------------------------

NODE_STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "look", "deliver"]), st.integers(0, 5)), max_size=40
)


@settings(max_examples=100, deadline=None)
@given(NODE_STEPS, FAULTS)
def test_no_subnet_is_ever_given_twice(script: list[tuple[str, int]], faults: list[Fault]) -> None:
    api, caches = ApiMemory(script=iter(faults)), build_caches()
    executor = Executor(cast(Client, api), caches.each(), Silence())
    reconciler = PodCIDRReconciler(caches, ip_network("10.0.0.0/22"), 24)

    async def look(number: int) -> None:
        try:
            await executor.settle()
            plan = await reconciler.look(ObjectKey("", f"n{number}"), NOW, "")
            await executor.apply(plan.actions)
        except KubeAPIError:
            return

    for name, number in script:
        known = {each.metadata.name for each in api.views(NODES)}
        match name:
            case "add" if f"n{number}" not in known:
                api.put(NODES, {"metadata": {"name": f"n{number}"}})
            case "remove" if f"n{number}" in known:
                api.remove(NODES, ObjectKey("", f"n{number}"))
            case "look":
                asyncio.run(look(number))
            case "deliver":
                for change in api.deliver(NODES, number):
                    caches.nodes.apply_change(change)
        given_out = [each.spec.pod_cidr for each in api.views(NODES) if each.spec.pod_cidr]
        assert len(given_out) == len(set(given_out))


# --- garbage ------------------------------------------------------------------------------------------------

GRAPHS = st.lists(st.sets(st.integers(0, 9), max_size=2), min_size=1, max_size=10)
"""For each object the numbers of its owners; a number without an object is an owner that is gone."""


def put_graph(api: ApiMemory, graph: list[set[int]]) -> None:
    for number, owners in enumerate(graph):
        # Owners come later than what they own in the list, so that there is no cycle.
        references = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": f"c{each}", "uid": f"uid-c{each}"}
            for each in owners
            if each > number
        ]
        meta = {"name": f"c{number}", "namespace": "default", "uid": f"uid-c{number}"}
        api.put(CONFIG_MAPS, {"metadata": {**meta, "ownerReferences": references}})


def compute_survivors(graph: list[set[int]]) -> set[str]:
    survivors: set[int] = set()
    for number in reversed(range(len(graph))):
        owners = {each for each in graph[number] if each > number}
        if not owners or owners & survivors:
            survivors.add(number)
    return {f"c{number}" for number in survivors}


@settings(max_examples=100, deadline=None)
@given(GRAPHS, FAULTS, st.lists(st.integers(0, 9), max_size=20))
def test_exactly_what_has_a_living_owner_survives(
    graph: list[set[int]], faults: list[Fault], early_looks: list[int]
) -> None:
    api, caches = ApiMemory(), build_caches()
    put_graph(api, graph)
    api.script = iter(faults)
    executor = Executor(cast(Client, api), caches.each(), Silence())
    reconciler = GarbageReconciler(caches, cast(Client, api))
    survivors = compute_survivors(graph)

    async def look(number: int) -> None:
        try:
            await executor.settle()
            plan = await reconciler.look(f"uid-c{number}", NOW, "")
            await executor.apply(plan.actions)
        except KubeAPIError:
            pass
        assert survivors <= {each.metadata.name for each in api.views(CONFIG_MAPS)}

    for number in early_looks:
        # One change at a time: dependents are seen before their owners.
        for change in api.deliver(CONFIG_MAPS, 1):
            caches.config_maps.apply_change(change)
        asyncio.run(look(number))
    for _ in range(30):
        for change in api.deliver(CONFIG_MAPS):
            caches.config_maps.apply_change(change)
        for number in range(len(graph)):
            asyncio.run(look(number))
    assert {each.metadata.name for each in api.views(CONFIG_MAPS)} == survivors
