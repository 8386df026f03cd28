"""Filters and scores, one fact changed at a time, and upstream's words for every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.scheduler.choose import Placement, Unschedulable, choose_node, is_feasible
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import build_pod_facts, compute_requests
from kubeapi.core import Node
from kubeapi.pod import (
    Affinity,
    Container,
    ContainerPort,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PreferredSchedulingTerm,
    ResourceRequirements,
    Toleration,
)
from tests.builders import container, node, owner_reference, pending_pod, pod, replica_set, taint

GOOD = pending_pod()


def state(each: Node, *containers: Container) -> NodeState:
    """The node with one pod for each of the containers."""
    found = NodeState(each)
    for number, only in enumerate(containers):
        found.add_pod(build_pod_facts(pod(f"p{number}", spec={"containers": (only,)})))
    return found


def refusal(wanted: Pod, each: Node, *there: Container) -> tuple[str, ...]:
    decision = choose_node(build_pod_facts(wanted), (state(each, *there),))
    return decision.reasons[each.metadata.name] if isinstance(decision, Unschedulable) else ()


def asking(**requests: str) -> Pod:
    needs = ResourceRequirements(requests=requests)
    return pending_pod("web-9", spec={"containers": (container(resources=needs, ports=()),)})


def needing(cpu: str, **overrides: Any) -> Container:
    return container(resources=ResourceRequirements(requests={"cpu": cpu}), **overrides)


def requiring(
    *requirements: NodeSelectorRequirement, fields: tuple[NodeSelectorRequirement, ...] = ()
) -> Pod:
    term = NodeSelectorTerm(match_expressions=requirements, match_fields=fields)
    required = NodeSelector(node_selector_terms=(term,))
    affinity = NodeAffinity(required_during_scheduling_ignored_during_execution=required)
    return pending_pod(spec={"affinity": Affinity(node_affinity=affinity)})


def need(key: str, operator: str, *values: str) -> NodeSelectorRequirement:
    return NodeSelectorRequirement(key=key, operator=operator, values=values)


# --- filters ------------------------------------------------------------------------------------------------


def test_a_good_pod_fits_a_good_node() -> None:
    assert refusal(GOOD, node()) == ()


@pytest.mark.parametrize(
    ("wanted", "each", "reason"),
    [
        (asking(cpu="4001m"), node(), "Insufficient cpu"),
        (asking(memory="9Gi"), node(), "Insufficient memory"),
        (asking(**{"example.com/gpu": "1"}), node(), "Insufficient example.com/gpu"),
        (GOOD, node(status={"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "0"}}), "Too many pods"),
        (GOOD, node(spec={"unschedulable": True}), "node(s) were unschedulable"),
        (GOOD, node(spec={"taints": (taint(),)}), "node(s) had untolerated taint {dedicated: db}"),
        (
            pending_pod(spec={"node_selector": {"disk": "ssd"}}),
            node(),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (
            requiring(need("disk", "In", "ssd")),
            node(),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (
            pending_pod(spec={"node_name": "node-7"}),
            node(),
            "node(s) didn't match the requested node name",
        ),
    ],
)
def test_a_refusal_is_said_in_upstreams_words(wanted: Pod, each: Node, reason: str) -> None:
    assert refusal(wanted, each) == (reason,)


def test_what_runs_already_takes_its_room() -> None:
    three = (needing("1"),) * 3
    assert refusal(asking(cpu="1"), node(), *three) == ()
    assert refusal(asking(cpu="1001m"), node(), *three) == ("Insufficient cpu",)


def test_every_resource_that_lacks_is_named() -> None:
    assert refusal(asking(cpu="5", memory="9Gi"), node()) == ("Insufficient cpu", "Insufficient memory")


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration(key="dedicated", operator="Equal", value="db", effect="NoSchedule"), True),
        (Toleration(key="dedicated", value="db"), True),
        (Toleration(key="dedicated", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(key="dedicated", value="web"), False),
        (Toleration(key="other", operator="Exists"), False),
        (Toleration(key="dedicated", value="db", effect="NoExecute"), False),
    ],
)
def test_tolerations(toleration: Toleration, tolerated: bool) -> None:
    wanted = pending_pod(spec={"tolerations": (toleration,)})
    assert (refusal(wanted, node(spec={"taints": (taint(),)})) == ()) is tolerated


def test_a_cordoned_node_takes_who_tolerates_it() -> None:
    wanted = pending_pod(spec={"tolerations": (Toleration(operator="Exists"),)})
    assert refusal(wanted, node(spec={"unschedulable": True})) == ()


LABELS = {"labels": {"disk": "ssd", "cores": "8"}}


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (need("disk", "In", "ssd", "nvme"), True),
        (need("disk", "NotIn", "ssd"), False),
        (need("gpu", "NotIn", "a100"), True),
        (need("disk", "Exists"), True),
        (need("disk", "DoesNotExist"), False),
        (need("cores", "Gt", "4"), True),
        (need("cores", "Lt", "8"), False),
        (need("disk", "Gt", "4"), False),
        (need("disk", "Resembles", "ssd"), False),
    ],
)
def test_affinity_operators(requirement: NodeSelectorRequirement, matches: bool) -> None:
    assert (refusal(requiring(requirement), node(metadata=LABELS)) == ()) is matches


def test_a_term_may_name_the_node_and_an_empty_one_matches_none() -> None:
    assert refusal(requiring(fields=(need("metadata.name", "In", "node-1"),)), node()) == ()
    assert refusal(requiring(), node()) != ()


@pytest.mark.parametrize(
    ("mine", "theirs", "free"),
    [
        (ContainerPort(host_port=80), ContainerPort(host_port=80), False),
        (ContainerPort(host_port=80), ContainerPort(host_port=81), True),
        (ContainerPort(host_port=80, protocol="UDP"), ContainerPort(host_port=80), True),
        (
            ContainerPort(host_port=80, host_ip="10.0.0.1"),
            ContainerPort(host_port=80, host_ip="10.0.0.2"),
            True,
        ),
        (ContainerPort(host_port=80, host_ip="10.0.0.1"), ContainerPort(host_port=80), False),
    ],
)
def test_host_ports(mine: ContainerPort, theirs: ContainerPort, free: bool) -> None:
    wanted = pending_pod(spec={"containers": (container(ports=(mine,)),)})
    assert (refusal(wanted, node(), container(ports=(theirs,))) == ()) is free


# --- requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "millicores"),
    [
        ({"containers": (needing("1"), needing("500m"))}, 1500),
        ({"containers": (needing("1"),), "init_containers": (needing("3"), needing("2"))}, 3000),
        ({"containers": (needing("1"),), "init_containers": (needing("500m"),)}, 1000),
        ({"containers": (needing("1"),), "init_containers": (needing("1", restart_policy="Always"),)}, 2000),
        (
            {
                "containers": (needing("1"),),
                "init_containers": (needing("1", restart_policy="Always"), needing("2")),
            },
            3000,
        ),
        (
            {
                "containers": (needing("1"),),
                "init_containers": (needing("2"), needing("1", restart_policy="Always")),
            },
            2000,
        ),
        ({"containers": (needing("1"),), "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": (needing("1"),), "resources": ResourceRequirements(requests={"cpu": "4"})}, 4000),
    ],
)
def test_a_pod_needs_what_its_hungriest_moment_needs(spec: dict[str, Any], millicores: int) -> None:
    assert compute_requests(pending_pod(spec=spec), assumed={}) == {"cpu": millicores}


def test_a_removed_pod_leaves_no_trace() -> None:
    wanted = build_pod_facts(pod(spec={"containers": (container(ports=(ContainerPort(host_port=80),)),)}))
    each = NodeState(node())
    each.add_pod(wanted)
    each.add_pod(wanted)
    each.remove_pod(wanted.uid)
    each.remove_pod(wanted.uid)
    assert not any(each.requested.values())
    assert not each.host_ports
    assert not each.spread


# --- the choice ---------------------------------------------------------------------------------------------

OWNER = replica_set()


def replica(name: str) -> Pod:
    return pending_pod(name, metadata={"owner_references": (owner_reference(OWNER),)})


def place(wanted: Pod, nodes: list[NodeState]) -> str:
    facts = build_pod_facts(wanted)
    decision = choose_node(facts, nodes)
    assert isinstance(decision, Placement)
    next(each for each in nodes if each.name == decision.node_name).add_pod(facts)
    return decision.node_name


def test_replicas_spread_over_the_nodes() -> None:
    nodes = [NodeState(node(f"node-{number}")) for number in range(3)]
    nodes[0].add_pod(build_pod_facts(pod("idle", spec={"containers": (needing("10m"),)})))
    assert {place(replica(f"web-{number}"), nodes) for number in range(3)} == {"node-0", "node-1", "node-2"}


def test_the_emptier_node_is_better() -> None:
    busy, idle = NodeState(node("busy")), NodeState(node("idle"))
    busy.add_pod(build_pod_facts(pod("other", spec={"containers": (needing("2"),)}, metadata={"labels": {}})))
    assert place(pending_pod(metadata={"labels": {}}), [busy, idle]) == "idle"


def test_a_node_that_one_should_rather_not_use_is_used_last() -> None:
    soft = NodeState(node("soft", spec={"taints": (taint(effect="PreferNoSchedule"),)}))
    assert place(GOOD, [soft, NodeState(node("plain"))]) == "plain"
    assert place(GOOD, [soft]) == "soft"


def test_a_preferred_node_is_better() -> None:
    preference = NodeSelectorTerm(match_expressions=(need("disk", "In", "ssd"),))
    terms = (PreferredSchedulingTerm(weight=10, preference=preference),)
    affinity = NodeAffinity(preferred_during_scheduling_ignored_during_execution=terms)
    wanted = pending_pod(spec={"affinity": Affinity(node_affinity=affinity)})
    nodes = [NodeState(node("a")), NodeState(node("b", metadata=LABELS)), NodeState(node("c"))]
    assert place(wanted, nodes) == "b"


def test_ties_fall_evenly() -> None:
    nodes = [NodeState(node(f"node-{number}")) for number in range(4)]
    found = [choose_node(build_pod_facts(pending_pod(f"p{number}")), nodes) for number in range(200)]
    counts = [sum(each == Placement(every.name) for each in found) for every in nodes]
    assert min(counts) >= 30


def test_the_message_counts_reasons_as_upstream_does() -> None:
    nodes = [
        NodeState(node("a", status={"allocatable": {"cpu": "1", "pods": "10"}})),
        NodeState(node("b", spec={"unschedulable": True})),
        NodeState(node("c", status={"allocatable": {"cpu": "1", "memory": "8Gi", "pods": "10"}})),
    ]
    decision = choose_node(build_pod_facts(asking(cpu="2", memory="1Gi")), nodes)
    assert isinstance(decision, Unschedulable)
    assert decision.message == (
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu."
    )
    assert Unschedulable({}).message == "no nodes available to schedule pods"


def test_one_node_alone_can_be_asked() -> None:
    assert is_feasible(build_pod_facts(GOOD), NodeState(node()))
    assert not is_feasible(build_pod_facts(asking(cpu="5")), NodeState(node()))
