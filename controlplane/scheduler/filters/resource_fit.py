"""Filter: what the pod requests is free on the node, and the node takes one pod more.

Pure. Prepared by `controlplane.scheduler.choose`. Requests count, not use; a resource that the node doesn't
have at all has no room. Follows the "Resource Management for Pods and Containers" page.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck


def prepare(pod: PodFacts) -> NodeCheck | None:
    requests = tuple(sorted(pod.requests.items()))

    def check(node: NodeState) -> tuple[str, ...]:
        reasons = []
        if len(node.pods) + 1 > node.allocatable.get("pods", 0):
            reasons.append("Too many pods")
        for name, amount in requests:
            if amount > node.allocatable.get(name, 0) - node.requested[name]:
                reasons.append(f"Insufficient {name}")
        return tuple(reasons)

    return check
