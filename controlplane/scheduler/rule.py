"""What a filter and a score are: rules that are prepared once for a pod and then asked about node after node.

Pure types. Implemented by the modules in `filters` and `scores`, one rule each; joined in `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts

NodeCheck = Callable[[NodeState], tuple[str, ...]]
"""Why the node can't take the pod, in upstream's words; empty when it can."""

NodeScore = Callable[[NodeState], float]
"""0 (worst) to 100 (best)."""

PrepareFilter = Callable[[PodFacts], NodeCheck | None]
"""None when the rule has nothing to say about this pod."""

PrepareScore = Callable[[PodFacts, Sequence[NodeState]], NodeScore | None]
"""The nodes are those that passed the filters; None when all would score the same."""

MOST_POINTS = 100.0


@dataclass(frozen=True, slots=True)
class WeightedScore:
    prepare: PrepareScore
    weight: float
