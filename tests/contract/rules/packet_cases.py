"""What happens to a packet, told once for both backends: followed through the rules, and sent for real.

The scene: a node with two pods on its bridge and a client outside; `tests/netns` builds it from namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netrules.model import Family, Protocol
from netrules.services import Backend, HostPortIntent, Intent, RulesetSettings, ServiceIntent

TCP, UDP = Protocol.TCP, Protocol.UDP


@dataclass(frozen=True, slots=True)
class Scene:
    """The addresses of one IP family."""

    family: Family
    cluster_cidr: str
    node_outside: str
    node_bridge: str
    outside: str
    pod_a: str
    pod_b: str
    service_prefix: str
    service_cidr: str

    def address(self, who: str) -> str:
        addresses = {
            "node": self.node_outside,
            "bridge": self.node_bridge,
            "outside": self.outside,
            "pod a": self.pod_a,
            "pod b": self.pod_b,
        }
        return addresses.get(who) or f"{self.service_prefix}{who.removeprefix('service ')}"

    @property
    def settings(self) -> RulesetSettings:
        return RulesetSettings(self.family, (self.cluster_cidr,))


SCENES: Final = {
    Family.IPV4: Scene(
        Family.IPV4,
        "10.244.0.0/16",
        "192.168.50.1",
        "10.244.1.1",
        "192.168.50.9",
        "10.244.1.2",
        "10.244.1.3",
        "10.96.0.",
        "10.96.0.0/16",
    ),
    Family.IPV6: Scene(
        Family.IPV6,
        "fd00:244::/56",
        "fd00:50::1",
        "fd00:244:0:1::1",
        "fd00:50::9",
        "fd00:244:0:1::2",
        "fd00:244:0:1::3",
        "fd00:96::",
        "fd00:96::/112",
    ),
}


def build_intents(scene: Scene) -> tuple[Intent, ...]:
    pod_a, pod_b = Backend(scene.pod_a, 8080), Backend(scene.pod_b, 8080)
    names = Backend(scene.pod_b, 5353)

    def service(name: str, number: int, protocol: Protocol, port: int, **more: object) -> ServiceIntent:
        address = scene.address(f"service {number}")
        return ServiceIntent(
            name=f"default/{name}",
            protocol=protocol,
            port=port,
            cluster_addresses=(address,),
            **more,  # type: ignore[arg-type]
        )

    return (
        service("web", 1, TCP, 80, node_port=30080, endpoints=(pod_a, pod_b)),
        service("dns", 2, UDP, 53, node_port=30053, endpoints=(names,)),
        service("solo", 3, TCP, 80, endpoints=(pod_a,)),
        service("empty", 4, TCP, 80, node_port=30082, endpoints=()),
        service(
            "kept",
            5,
            TCP,
            80,
            node_port=30083,
            endpoints=(pod_a, pod_b),
            external_endpoints=(pod_a,),
            preserve_client=True,
        ),
        service(
            "elsewhere", 6, TCP, 80, external_addresses=(scene.address("service 200"),), endpoints=(pod_b,)
        ),
        service("silent", 7, UDP, 53, endpoints=()),
        HostPortIntent(name="host port", protocol=TCP, host_port=8088, backend=pod_a),
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """The connection ends at one of these pods (each in turn), which sees the client itself or the node."""

    pods: tuple[str, ...]
    port: int
    masqueraded: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """The client is told at once."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    client: str
    to: str
    port: int
    expect: Reach | Refuse
    protocol: Protocol = TCP
    only: str = ""  # the one backend that promises this


BOTH: Final = ("pod a", "pod b")

CASES: Final = (
    Case("pod to a cluster IP", "pod b", "service 3", 80, Reach(("pod a",), 8080, False)),
    Case("pod to its own Service", "pod a", "service 3", 80, Reach(("pod a",), 8080, True)),
    Case("node to a cluster IP", "node", "service 1", 80, Reach(BOTH, 8080, True)),
    Case("outside to a cluster IP", "outside", "service 1", 80, Reach(BOTH, 8080, True)),
    Case("outside to a node port", "outside", "node", 30080, Reach(BOTH, 8080, True)),
    Case("node to its own node port", "node", "node", 30080, Reach(BOTH, 8080, True)),
    Case("pod to a node port", "pod b", "node", 30080, Reach(BOTH, 8080, True)),
    Case("pod to a node port of the bridge", "pod b", "bridge", 30080, Reach(BOTH, 8080, True)),
    Case("outside to a local node port", "outside", "node", 30083, Reach(("pod a",), 8080, False)),
    Case("outside to an external address", "outside", "service 200", 80, Reach(("pod b",), 8080, True)),
    Case("UDP: pod to a cluster IP", "pod a", "service 2", 53, Reach(("pod b",), 5353, False), UDP),
    Case("UDP: node to a cluster IP", "node", "service 2", 53, Reach(("pod b",), 5353, True), UDP),
    Case("UDP: outside to a node port", "outside", "node", 30053, Reach(("pod b",), 5353, True), UDP),
    Case("outside to a host port", "outside", "node", 8088, Reach(("pod a",), 8080, False)),
    Case("node to its own host port", "node", "node", 8088, Reach(("pod a",), 8080, False)),
    Case("pod to its own host port", "pod a", "node", 8088, Reach(("pod a",), 8080, True)),
    Case("pod to a Service without endpoints", "pod a", "service 4", 80, Refuse()),
    Case("node to a Service without endpoints", "node", "service 4", 80, Refuse()),
    Case("outside to a Service without endpoints", "outside", "service 4", 80, Refuse()),
    Case("outside to a node port without endpoints", "outside", "node", 30082, Refuse()),
    Case("node to a node port without endpoints", "node", "node", 30082, Refuse()),
    Case("UDP: pod to a Service without endpoints", "pod a", "service 7", 53, Refuse(), UDP),
    Case("pod to an unknown port of a cluster IP", "pod a", "service 1", 81, Refuse(), only="nftables"),
    Case("node to an unknown port of a cluster IP", "node", "service 1", 81, Refuse(), only="nftables"),
    Case("pod to a pod", "pod a", "pod b", 8080, Reach(("pod b",), 8080, False)),
)
