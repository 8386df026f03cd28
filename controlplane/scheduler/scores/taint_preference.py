"""Score: the fewer PreferNoSchedule taints that the pod doesn't tolerate, the better.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "Taints and Tolerations" page.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import MOST_POINTS, NodeScore
from controlplane.scheduler.tolerations import find_untolerated

_EFFECTS = frozenset({"PreferNoSchedule"})


def prepare(pod: PodFacts, nodes: Sequence[NodeState]) -> NodeScore | None:
    counts = {
        node.name: len(find_untolerated(node.node.spec.taints, pod.pod.spec.tolerations, _EFFECTS))
        for node in nodes
        if node.node.spec.taints
    }
    most = max(counts.values(), default=0)
    if not most:
        return None

    def score(node: NodeState) -> float:
        return (most - counts.get(node.name, 0)) / most * MOST_POINTS

    return score
