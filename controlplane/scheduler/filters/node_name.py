"""Filter: a pod that names its node in `spec.nodeName` fits no other.

Pure. Prepared by `controlplane.scheduler.choose`.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck

_REASON = ("node(s) didn't match the requested node name",)


def prepare(pod: PodFacts) -> NodeCheck | None:
    wanted = pod.pod.spec.node_name
    if not wanted:
        return None

    def check(node: NodeState) -> tuple[str, ...]:
        return () if node.name == wanted else _REASON

    return check
