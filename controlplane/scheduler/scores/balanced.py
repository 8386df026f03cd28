"""Score: CPU and memory used in like measure, so that neither runs out while the other lies idle.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "NodeResourcesBalancedAllocation" plugin on the
"Scheduler Configuration" page.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import CPU, MEMORY, PodFacts
from controlplane.scheduler.rule import MOST_POINTS, NodeScore


def prepare(pod: PodFacts, nodes: Sequence[NodeState]) -> NodeScore | None:  # noqa: ARG001
    requests = pod.scored_requests

    def score(node: NodeState) -> float:
        used = [used_share(name, node) for name in (CPU, MEMORY)]
        # The standard deviation of two values is half their distance.
        return (1.0 - abs(used[0] - used[1]) / 2) * MOST_POINTS

    def used_share(name: str, node: NodeState) -> float:
        room = node.allocatable.get(name, 0)
        return min(1.0, (node.scored[name] + requests.get(name, 0)) / room) if room else 1.0

    return score
