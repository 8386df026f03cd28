"""Filter: a cordoned node (`spec.unschedulable`) takes only pods that tolerate its taint.

Pure. Prepared by `controlplane.scheduler.choose`.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck
from controlplane.scheduler.tolerations import find_untolerated
from kubeapi.core import Taint

_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_REASON = ("node(s) were unschedulable",)


def prepare(pod: PodFacts) -> NodeCheck | None:
    if not find_untolerated((_TAINT,), pod.pod.spec.tolerations, frozenset({_TAINT.effect})):
        return None
    return _check


def _check(node: NodeState) -> tuple[str, ...]:
    return _REASON if node.node.spec.unschedulable else ()
