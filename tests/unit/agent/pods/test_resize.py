"""What a pod wants against what it has, and what the node says to it."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.checkpoint.records import PodRecord, ResourceRecord, decode_record, encode_record
from agent.pods.admission import Refusal
from agent.pods.goal import SOURCE_ANNOTATION, compute_spec_hash
from agent.pods.resize.wish import (
    compute_turn,
    decide_resize,
    has_changed,
    note_decision,
    note_wish,
    split_wish,
    widen,
    with_resources,
)
from kubeapi.pod import Pod, ResourceRequirements
from tests import builders

NOW = 1000.0


def requests(**amounts: str) -> ResourceRequirements:
    return ResourceRequirements(requests=amounts)


def pod_with(cpu: str = "1", name: str = "web-1", **more: Any) -> Pod:
    return builders.pod(name, spec={"containers": (builders.container(resources=requests(cpu=cpu)),)}, **more)


def record(pod: Pod, **resources: Any) -> PodRecord:
    return PodRecord(pod=pod, start_time=900.0, resources=ResourceRecord(**resources))


def decide(cpu: str, *others: Pod, pod: Pod | None = None) -> tuple[str, str]:
    refusal = decide_resize(pod or pod_with(), {"web": requests(cpu=cpu)}, builders.node(), others)
    return (refusal.reason, refusal.message) if refusal is not None else ("", "")


# --- the wish -----------------------------------------------------------------------------------------------


def test_a_pod_as_it_is_wants_nothing() -> None:
    assert split_wish(pod_with("1"), pod_with("1000m")) == (pod_with("1000m"), {})


def test_the_pod_is_kept_with_what_it_has_and_its_wish_beside_it() -> None:
    shown = builders.changed(pod_with("2"), metadata=builders.pod(metadata={"generation": 2}).metadata)
    pod, wanted = split_wish(pod_with("1"), shown)
    assert wanted == {"web": requests(cpu="2")}
    assert pod.spec == pod_with("1").spec
    assert pod.metadata.generation == 2


def test_sidecars_may_want_more_and_plain_init_containers_not() -> None:
    def with_init(cpu: str, policy: str | None) -> Pod:
        init = builders.container("init", resources=requests(cpu=cpu), restart_policy=policy)
        return builders.pod(spec={"init_containers": (init,)})

    assert split_wish(with_init("1", "Always"), with_init("2", "Always"))[1] == {"init": requests(cpu="2")}
    assert split_wish(with_init("1", None), with_init("2", None))[1] == {}


def test_what_is_said_of_a_wish_holds_until_there_is_another() -> None:
    old = record(pod_with(), wanted={"web": requests(cpu="2")}, reason="Deferred", message="m", since=990.0)
    assert note_wish(old, pod_with("2"))[1] == old.resources
    assert note_wish(old, pod_with("3"))[1] == ResourceRecord(wanted={"web": requests(cpu="3")})
    assert note_wish(old, pod_with("1"))[1] == ResourceRecord()


def test_only_cpu_and_memory_count() -> None:
    assert not has_changed(requests(storage="1"), requests(storage="2"))
    assert has_changed(requests(memory="1Mi"), requests(memory="2Mi"))
    assert has_changed(ResourceRequirements(limits={"cpu": "1"}), ResourceRequirements())


def test_wide_enough_for_both() -> None:
    one = ResourceRequirements(requests={"cpu": "1", "memory": "2Mi"}, limits={"cpu": "2", "memory": "2Mi"})
    other = ResourceRequirements(requests={"cpu": "2", "memory": "1Mi"}, limits={"cpu": "3"})
    expected = ResourceRequirements(requests={"cpu": "2", "memory": "2Mi"}, limits={"cpu": "3"})
    assert widen(one, other) == widen(other, one) == expected


def test_a_resize_never_replaces_a_container_by_its_hash() -> None:
    resized = with_resources(pod_with("1"), {"web": requests(cpu="2")})
    hashes = {compute_spec_hash(pod.spec.containers[0]) for pod in (pod_with("1"), resized)}
    assert len(hashes) == 1


# --- the node's answer --------------------------------------------------------------------------------------


def test_what_fits_is_given() -> None:
    assert decide("4") == ("", "")
    assert decide("3", pod_with("1", "other")) == ("", "")


def test_less_is_given_too() -> None:
    assert decide("500m", pod_with("3", "other")) == ("", "")


def test_a_node_that_is_not_known_yet_refuses_nothing() -> None:
    assert decide_resize(pod_with(), {"web": requests(cpu="99")}, None, ()) is None


def test_more_than_the_node_has_is_infeasible() -> None:
    message = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert decide("5") == ("Infeasible", message)


def test_what_others_hold_defers() -> None:
    message = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
    assert decide("3", pod_with("2", "other")) == ("Deferred", message)


def test_static_pods_are_not_resized() -> None:
    static = pod_with(metadata={"annotations": {SOURCE_ANNOTATION: "file"}})
    assert decide("2", pod=static) == ("Infeasible", "In-place resize of static-pods is not supported")


def test_what_is_given_is_the_pods_own_from_then_on() -> None:
    old = record(pod_with("1"), wanted={"web": requests(cpu="2")}, reason="Deferred", message="m", since=1.0)
    given = note_decision(old, None, NOW)
    assert given.pod == pod_with("2")
    assert given.resources == ResourceRecord(in_progress=True, allocated_at=NOW)


def test_a_refusal_keeps_the_time_of_the_first_one() -> None:
    old = record(pod_with("1"), wanted={"web": requests(cpu="2")})
    refused = note_decision(old, Refusal("Deferred", "later"), NOW)
    again = note_decision(refused, Refusal("Deferred", "still later"), NOW + 5)
    assert (again.resources.reason, again.resources.message) == ("Deferred", "still later")
    assert again.resources.since == NOW
    assert again.pod == pod_with("1")


def test_the_order_is_priority_then_class_then_time() -> None:
    def waiting(name: str, since: float, priority: int = 0, *, burstable: bool = True) -> PodRecord:
        resources = requests(cpu="1") if burstable else ResourceRequirements()
        containers = (builders.container(resources=resources),)
        pod = builders.pod(name, spec={"containers": containers, "priority": priority})
        return record(pod, since=since)

    records = (
        waiting("late", 20.0),
        waiting("early", 10.0),
        waiting("best-effort", 1.0, burstable=False),
        waiting("important", 30.0, priority=5),
    )
    order = [each.pod.metadata.name for each in sorted(records, key=compute_turn)]
    assert order == ["important", "early", "late", "best-effort"]


# --- the checkpoint -----------------------------------------------------------------------------------------


def test_a_record_keeps_where_a_resize_stands() -> None:
    full = record(
        pod_with(),
        wanted={"web": requests(cpu="2")},
        reason="Deferred",
        message="m",
        since=1.0,
        in_progress=True,
        allocated_at=2.0,
        actuated={"id": requests(cpu="1")},
    )
    assert decode_record(encode_record(full)) == full


def test_a_record_of_an_older_agent_has_no_resize() -> None:
    old = msgspec.json.encode({"version": 1, "pod": msgspec.to_builtins(pod_with()), "start_time": 1.0})
    assert decode_record(old).resources == ResourceRecord()
