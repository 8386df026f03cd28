"""Score: the more weight of preferred node affinity terms the node matches, the better.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "Node affinity weight" section of the
"Assigning Pods to Nodes" page.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.node_terms import matches_term
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import MOST_POINTS, NodeScore


def prepare(pod: PodFacts, nodes: Sequence[NodeState]) -> NodeScore | None:
    affinity = pod.pod.spec.affinity
    node_affinity = affinity.node_affinity if affinity is not None else None
    terms = node_affinity.preferred_during_scheduling_ignored_during_execution if node_affinity else ()
    weights = {
        node.name: sum(term.weight for term in terms if matches_term(term.preference, node.node))
        for node in nodes
        if terms
    }
    most = max(weights.values(), default=0)
    if not most:
        return None

    def score(node: NodeState) -> float:
        return weights[node.name] / most * MOST_POINTS

    return score
