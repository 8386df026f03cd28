"""Filter: a node with a NoSchedule or NoExecute taint takes only pods that tolerate it.

Pure. Prepared by `controlplane.scheduler.choose`. Follows the "Taints and Tolerations" page.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck
from controlplane.scheduler.tolerations import find_untolerated

_EFFECTS = frozenset({"NoSchedule", "NoExecute"})


def prepare(pod: PodFacts) -> NodeCheck | None:
    tolerations = pod.pod.spec.tolerations

    def check(node: NodeState) -> tuple[str, ...]:
        """One taint is reason enough; the first is named."""
        for taint in find_untolerated(node.node.spec.taints, tolerations, _EFFECTS):
            return (f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",)
        return ()

    return check
