"""The scheduler's decision: which node takes this pod, or why none does.

Pure. Called by `controlplane.scheduler.scheduler`. Filters say which nodes can, in upstream's order and
words; scores say which of them is best; ties are broken by a digest of pod and node, so that they fall
evenly and always the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from controlplane.scheduler.filters import (
    host_ports,
    node_name,
    node_selector_affinity,
    resource_fit,
    taints,
    unschedulable,
    volumes,
)
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck, PrepareFilter, WeightedScore
from controlplane.scheduler.scores import (
    balanced,
    least_allocated,
    node_affinity,
    selector_spread,
    taint_preference,
)
from controlplane.scheduler.storage_state import StorageState

FILTERS: Final[tuple[PrepareFilter, ...]] = (
    unschedulable.prepare,
    node_name.prepare,
    taints.prepare,
    node_selector_affinity.prepare,
    host_ports.prepare,
    resource_fit.prepare,
)
NO_STORAGE: Final = StorageState()
SCORES: Final = (
    WeightedScore(taint_preference.prepare, 3),
    WeightedScore(node_affinity.prepare, 2),
    WeightedScore(selector_spread.prepare, 2),
    WeightedScore(least_allocated.prepare, 1),
    WeightedScore(balanced.prepare, 1),
)


@dataclass(frozen=True, slots=True)
class Placement:
    node_name: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """`reasons` by node name: what the first filter that refused the node had to say."""

    reasons: Mapping[str, tuple[str, ...]]

    @property
    def message(self) -> str:
        """In upstream's form: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
        if not self.reasons:
            return "no nodes available to schedule pods"
        counts = Counter(reason for reasons in self.reasons.values() for reason in reasons)
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
        return f"0/{len(self.reasons)} nodes are available: {listed}."


def choose_node(
    pod: PodFacts, nodes: Sequence[NodeState], storage: StorageState = NO_STORAGE
) -> Placement | Unschedulable:
    checks = _prepare_checks(pod, storage)
    feasible: list[NodeState] = []
    reasons: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        refused = _find_refusal(checks, node)
        if refused:
            reasons[node.name] = refused
        else:
            feasible.append(node)
    if not feasible:
        return Unschedulable(reasons)
    return Placement(_choose_best(pod, feasible).name)


def is_feasible(pod: PodFacts, node: NodeState, storage: StorageState = NO_STORAGE) -> bool:
    """The pod would fit this node now."""
    return not _find_refusal(_prepare_checks(pod, storage), node)


def _prepare_checks(pod: PodFacts, storage: StorageState) -> tuple[NodeCheck, ...]:
    prepared = (*(prepare(pod) for prepare in FILTERS), volumes.prepare(pod, storage))
    return tuple(check for check in prepared if check is not None)


def _find_refusal(checks: tuple[NodeCheck, ...], node: NodeState) -> tuple[str, ...]:
    for check in checks:
        reasons = check(node)
        if reasons:
            return reasons
    return ()


def _choose_best(pod: PodFacts, feasible: list[NodeState]) -> NodeState:
    if len(feasible) == 1:
        return feasible[0]
    prepared = [(each.prepare(pod, feasible), each.weight) for each in SCORES]
    scores = [(score, weight) for score, weight in prepared if score is not None]

    def rank(node: NodeState) -> tuple[float, int]:
        total = sum(score(node) * weight for score, weight in scores)
        # Rounded: what differs only by floating point must count as a tie.
        return round(total, 6), crc32(f"{pod.uid}/{node.name}".encode())

    return max(feasible, key=rank)
