"""Filter: the node's labels match the pod's `nodeSelector` and its required node affinity.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "Assigning Pods to Nodes" page.
"""

from __future__ import annotations

from controlplane.node_terms import matches_any
from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck

_REASON = ("node(s) didn't match Pod's node affinity/selector",)


def prepare(pod: PodFacts) -> NodeCheck | None:
    pairs = pod.pod.spec.node_selector.items()
    affinity = pod.pod.spec.affinity
    node_affinity = affinity.node_affinity if affinity is not None else None
    required = node_affinity.required_during_scheduling_ignored_during_execution if node_affinity else None
    if not pairs and required is None:
        return None

    def check(node: NodeState) -> tuple[str, ...]:
        if not pairs <= node.node.metadata.labels.items():
            return _REASON
        if required is not None and not matches_any(required.node_selector_terms, node.node):
            return _REASON
        return ()

    return check
