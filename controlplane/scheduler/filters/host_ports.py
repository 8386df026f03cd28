"""Filter: the host ports that the pod asks for are free on the node.

Pure. Prepared by `controlplane.scheduler.choose`. A port on all addresses collides with the same port on any.
"""

from __future__ import annotations

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import HostPort, PodFacts
from controlplane.scheduler.rule import NodeCheck

_REASON = ("node(s) didn't have free ports for the requested pod ports",)
_ANY_ADDRESS = ("0.0.0.0", "::")


def prepare(pod: PodFacts) -> NodeCheck | None:
    wanted = pod.host_ports
    if not wanted:
        return None

    def check(node: NodeState) -> tuple[str, ...]:
        collides = any(_collide(one, other) for one in wanted for other in node.host_ports)
        return _REASON if collides else ()

    return check


def _collide(one: HostPort, other: HostPort) -> bool:
    if (one.protocol, one.port) != (other.protocol, other.port):
        return False
    return one.ip == other.ip or one.ip in _ANY_ADDRESS or other.ip in _ANY_ADDRESS
