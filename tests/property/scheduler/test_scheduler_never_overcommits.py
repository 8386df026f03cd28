"""Whatever comes in whatever order, no node is given more than it has, and no pod waits for what would fit
now.
"""

from __future__ import annotations

from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.scheduler.choose import Placement, choose_node
from controlplane.scheduler.pod_facts import PodFacts, build_pod_facts
from controlplane.scheduler.reports import DelayReporter
from controlplane.scheduler.scheduler import Scheduler
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.client import Client
from kubeapi.core import ObjectReference
from kubeapi.event_records import EventType
from kubeapi.object_store import Change
from kubeapi.pod import Pod, ResourceRequirements
from tests.builders import changed, container, node, pending_pod
from tests.fakes.api_memory import ApiMemory

ROOM = {"cpu": "2", "memory": "4Gi", "pods": "4"}
STEPS = st.lists(
    st.tuples(st.sampled_from(["pod", "bound", "gone", "node"]), st.integers(0, 11), st.integers(0, 2000)),
    max_size=60,
)


class Silence:
    def record(self, regarding: ObjectReference, type: EventType, reason: str, message: str) -> None: ...


def build(number: int, millicores: int) -> Pod:
    needs = ResourceRequirements(requests={"cpu": f"{millicores}m"})
    return pending_pod(f"p{number}", spec={"containers": (container(resources=needs),)})


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_no_node_is_overcommitted(script: list[tuple[str, int, int]]) -> None:
    snapshot = Snapshot()
    waiting: dict[str, PodFacts] = {}
    placed: dict[str, tuple[PodFacts, str]] = {}
    for name, number, millicores in script:
        uid = f"uid-p{number}"
        match name:
            case "node":
                snapshot.put_node(node(f"n{number % 3}", status={"allocatable": ROOM}))
            case "pod" if uid not in placed:
                waiting[uid] = build_pod_facts(build(number, millicores))
            case "bound" if uid in placed:
                snapshot.put_pod(*placed[uid])
            case "gone":
                snapshot.remove_pod(uid)
                placed.pop(uid, None)
                waiting.pop(uid, None)
        for pod in tuple(waiting.values()):
            decision = choose_node(pod, snapshot.nodes())
            if isinstance(decision, Placement):
                snapshot.assume(pod, decision.node_name)
                placed[pod.uid] = (pod, decision.node_name)
                del waiting[pod.uid]
        check_room(placed)


def check_room(placed: dict[str, tuple[PodFacts, str]]) -> None:
    for name in {where for _, where in placed.values()}:
        there = [pod for pod, where in placed.values() if where == name]
        assert sum(pod.requests.get("cpu", 0) for pod in there) <= 2000
        assert len(there) <= 4


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_no_pod_waits_for_what_would_fit(script: list[tuple[str, int, int]]) -> None:
    """After each event the queue is worked off; whoever is left fits nowhere."""
    client = cast(Client, ApiMemory())
    scheduler = Scheduler(client, Silence(), DelayReporter(client))
    known: dict[int, Pod] = {}
    where: dict[int, str] = {}
    for name, number, millicores in script:
        match name:
            case "node":
                each = node(f"n{number % 3}", status={"allocatable": ROOM})
                scheduler.apply_node(Change(each.key, None, each))
            case "pod" if number not in known:
                known[number] = build(number, millicores)
                scheduler.apply_pod(Change(known[number].key, None, known[number]))
            case "bound" if number in where:
                spec = changed(known[number].spec, node_name=where[number])
                after = changed(known[number], spec=spec)
                scheduler.apply_pod(Change(after.key, known[number], after))
                known[number] = after
            case "gone" if number in known:
                gone = known.pop(number)
                where.pop(number, None)
                scheduler.apply_pod(Change(gone.key, gone, None))
        where |= work_off(scheduler)
        left = [number for number in known if number not in where]
        nodes = scheduler._snapshot.nodes()
        assert not [
            number
            for number in left
            if isinstance(choose_node(build_pod_facts(known[number]), nodes), Placement)
        ]


def work_off(scheduler: Scheduler) -> dict[int, str]:
    found = {}
    while (pod := scheduler._queue.get_nowait()) is not None:
        placement = scheduler.decide(pod)
        if placement is not None:
            found[int(pod.pod.metadata.name[1:])] = placement.node_name
    return found
