"""Score: the more CPU and memory stay free, the better.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "NodeResourcesFit" plugin's LeastAllocated
strategy on the "Resource Bin Packing" page.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import CPU, MEMORY, PodFacts
from controlplane.scheduler.rule import MOST_POINTS, NodeScore


def prepare(pod: PodFacts, nodes: Sequence[NodeState]) -> NodeScore | None:  # noqa: ARG001
    requests = pod.scored_requests

    def score(node: NodeState) -> float:
        return sum(map(free_share, (CPU, MEMORY), (node, node))) / 2 * MOST_POINTS

    def free_share(name: str, node: NodeState) -> float:
        room = node.allocatable.get(name, 0)
        free = room - node.scored[name] - requests.get(name, 0)
        return max(0.0, free / room) if room else 0.0

    return score
