"""Score: the fewer pods of the same controller (or, without one, of the same labels) on the node, the
better.

Pure. Prepared by `controlplane.scheduler.choose`. It is what keeps three replicas on three nodes when
nothing was said about topology; compare the default constraints on the "Pod Topology Spread Constraints"
page.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import MOST_POINTS, NodeScore


def prepare(pod: PodFacts, nodes: Sequence[NodeState]) -> NodeScore | None:
    key = pod.spread_key
    most = max((node.spread[key] for node in nodes), default=0) if key is not None else 0
    if not most:
        return None

    def score(node: NodeState) -> float:
        return (most - node.spread[key]) / most * MOST_POINTS

    return score
