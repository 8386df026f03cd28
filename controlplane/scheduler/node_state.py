"""One node as the scheduler counts it: what it has, what its pods take of it.

No IO. Changed only by `snapshot`, as pods come, are assumed, and go; read by filters and scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from controlplane.scheduler.pod_facts import HostPort, PodFacts, parse_amounts
from kubeapi.core import Node


class NodeState:
    """`requested` and `scored` are sums over the pods by resource name, in the units of `Amounts`."""

    __slots__ = ("allocatable", "host_ports", "node", "pods", "requested", "scored", "spread")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.allocatable = parse_amounts(node.status.allocatable)
        self.pods: dict[str, PodFacts] = {}
        self.requested: Counter[str] = Counter()
        self.scored: Counter[str] = Counter()
        self.host_ports: Counter[HostPort] = Counter()
        self.spread: Counter[Hashable] = Counter()

    @property
    def name(self) -> str:
        return self.node.metadata.name

    def replace_node(self, node: Node) -> None:
        if node.status.allocatable != self.node.status.allocatable:
            self.allocatable = parse_amounts(node.status.allocatable)
        self.node = node

    def add_pod(self, pod: PodFacts) -> None:
        """A pod that is here already is replaced."""
        self.remove_pod(pod.uid)
        self.pods[pod.uid] = pod
        self.requested.update(pod.requests)
        self.scored.update(pod.scored_requests)
        self.host_ports.update(pod.host_ports)
        self.spread[pod.spread_key] += 1

    def remove_pod(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is None:
            return
        self.requested.subtract(pod.requests)
        self.scored.subtract(pod.scored_requests)
        self.spread[pod.spread_key] -= 1
        if not self.spread[pod.spread_key]:
            del self.spread[pod.spread_key]
        for port in pod.host_ports:
            self.host_ports[port] -= 1
            if not self.host_ports[port]:
                del self.host_ports[port]
