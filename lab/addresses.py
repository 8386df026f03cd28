"""Which address everything in a lab has.

Pure. Labs may share these addresses: each lab's bridge lives in a namespace of its own, joined to nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lab.errors import LabError

_NODES = IPv4Network("10.99.0.0/16")
_PODS = IPv4Network("10.244.0.0/16")
_SERVICES = IPv4Network("10.96.0.0/16")
_FIRST_NODE = 10  # the node with index 1 is .11


@dataclass(frozen=True, slots=True)
class AddressPlan:
    nodes: IPv4Network = _NODES
    pods: IPv4Network = _PODS
    services: IPv4Network = _SERVICES
    pod_prefix_length: int = 24

    @property
    def gateway(self) -> IPv4Address:
        """The bridge. It leads nowhere, so that packets to elsewhere are refused at once instead of lost."""
        return self.nodes[1]

    @property
    def server(self) -> IPv4Address:
        return self.nodes[2]

    @property
    def cluster_dns(self) -> IPv4Address:
        return self.services[10]

    def node(self, index: int) -> IPv4Address:
        """Nodes count from 1."""
        if not 1 <= index < self.nodes.num_addresses - _FIRST_NODE - 1:
            raise LabError(f"node number {index} has no address in {self.nodes}; ask for fewer nodes")
        return self.nodes[_FIRST_NODE + index]

    def pod_cidr(self, index: int) -> IPv4Network:
        """For a node without a control plane; with one, its node controller hands them out."""
        size = 1 << (self.pods.max_prefixlen - self.pod_prefix_length)
        if not 1 <= index < self.pods.num_addresses // size:
            raise LabError(f"node number {index} has no pod CIDR in {self.pods}; ask for fewer nodes")
        return IPv4Network((self.pods[index * size], self.pod_prefix_length))


DEFAULT_ADDRESSES = AddressPlan()
