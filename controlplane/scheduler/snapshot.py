"""All nodes and what runs on them, kept up to date by changes; a pod that was just placed counts at once.

No IO. Fed by the scheduler's informers and by its own decisions (`assume`): between a binding and the watch
event that shows it, only the assumption keeps a burst of pods from being placed on the same free room.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from kubeapi.core import Node


class Snapshot:
    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}
        self._placements: dict[str, tuple[str, PodFacts]] = {}
        self._assumed: set[str] = set()

    def nodes(self) -> tuple[NodeState, ...]:
        return tuple(self._nodes.values())

    def get_node(self, name: str) -> NodeState | None:
        return self._nodes.get(name)

    def get_node_name(self, uid: str) -> str | None:
        """Where the pod runs or is assumed to run."""
        placement = self._placements.get(uid)
        return placement[0] if placement is not None else None

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def put_node(self, node: Node) -> None:
        name = node.metadata.name
        state = self._nodes.get(name)
        if state is not None:
            state.replace_node(node)
            return
        state = self._nodes[name] = NodeState(node)
        # Pods may be seen before the node that they are on.
        for placed_on, pod in self._placements.values():
            if placed_on == name:
                state.add_pod(pod)

    def remove_node(self, name: str) -> None:
        self._nodes.pop(name, None)

    def put_pod(self, pod: PodFacts, node_name: str) -> None:
        """The pod is on this node, as the API says."""
        self._place(pod, node_name)
        self._assumed.discard(pod.uid)

    def assume(self, pod: PodFacts, node_name: str) -> None:
        """The pod will be on this node: the binding is on its way."""
        self._place(pod, node_name)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> None:
        """The binding came to nothing; a pod that the API has shown on a node stays."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def remove_pod(self, uid: str) -> str | None:
        """The node that the pod was on, if any."""
        self._assumed.discard(uid)
        placement = self._placements.pop(uid, None)
        if placement is None:
            return None
        state = self._nodes.get(placement[0])
        if state is not None:
            state.remove_pod(uid)
        return placement[0]

    def _place(self, pod: PodFacts, node_name: str) -> None:
        before = self._placements.get(pod.uid)
        if before is not None and before[0] != node_name:
            self.remove_pod(pod.uid)
        self._placements[pod.uid] = (node_name, pod)
        state = self._nodes.get(node_name)
        if state is not None:
            state.add_pod(pod)
