"""What the scheduler needs to know of a pod, computed once: requests, host ports, what it spreads from.

Pure. Built when a pod is first seen, read by filters, scores and the snapshot. Requests follow the "Resource
Management for Pods and Containers", "Init Containers", "Sidecar Containers" and "Pod Overhead" pages of the
Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from kubeapi.meta import QuantityText
from kubeapi.pod import Container, Pod
from kubeapi.quantity import parse_quantity

CPU: Final = "cpu"
MEMORY: Final = "memory"

# A container that requests nothing still uses something: what scores, never filters, count for it.
_ASSUMED_REQUESTS: Final = {CPU: 100, MEMORY: 200 * 1024 * 1024}

Amounts = Mapping[str, int]
"""Resource amounts by name: CPU in thousandths, everything else in units (bytes, devices)."""


class HostPort(NamedTuple):
    protocol: str
    port: int
    ip: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """`spread_key` is the same for pods that should not crowd one node; None for a pod alone."""

    pod: Pod
    requests: Amounts
    scored_requests: Amounts
    host_ports: tuple[HostPort, ...]
    spread_key: Hashable

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid

    @property
    def priority(self) -> int:
        return self.pod.spec.priority or 0


def build_pod_facts(pod: Pod) -> PodFacts:
    return PodFacts(
        pod=pod,
        requests=compute_requests(pod, assumed={}),
        scored_requests=compute_requests(pod, assumed=_ASSUMED_REQUESTS),
        host_ports=tuple(_read_host_ports(pod)),
        spread_key=_choose_spread_key(pod),
    )


def parse_amounts(quantities: Mapping[str, QuantityText]) -> dict[str, int]:
    return {name: _parse_amount(name, text) for name, text in quantities.items()}


def compute_requests(pod: Pod, *, assumed: Amounts) -> Amounts:
    """What the pod needs at its hungriest moment: all containers together, or one init container beside the
    sidecars that have started before it; plus overhead. Requests of the pod as a whole win. `assumed`
    stands in for requests that a container leaves out.
    """
    running = _sum(_read_requests(container, assumed) for container in pod.spec.containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        own = _read_requests(container, assumed)
        if container.restart_policy == "Always":
            sidecars = _sum((sidecars, own))
            own = {}
        peak = _most(peak, _sum((sidecars, own)))
    total = _most(_sum((running, sidecars)), peak)
    if pod.spec.resources is not None:
        total |= parse_amounts(pod.spec.resources.requests)
    return {
        name: amount for name, amount in _sum((total, parse_amounts(pod.spec.overhead))).items() if amount
    }


def _parse_amount(name: str, text: QuantityText) -> int:
    quantity = parse_quantity(text)
    return quantity.millis() if name == CPU else quantity.units()


def _read_requests(container: Container, assumed: Amounts) -> dict[str, int]:
    return {**assumed, **parse_amounts(container.resources.requests)}


def _sum(amounts: Iterable[Amounts]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, 0) + amount
    return total


def _most(one: Amounts, other: Amounts) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _read_host_ports(pod: Pod) -> Iterable[HostPort]:
    sidecars = (each for each in pod.spec.init_containers if each.restart_policy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield HostPort(port.protocol or "TCP", number, port.host_ip or "0.0.0.0")


def _choose_spread_key(pod: Pod) -> Hashable:
    """The controller that made it; without one, its labels."""
    controller = next((ref.uid for ref in pod.metadata.owner_references if ref.controller), None)
    if controller is not None:
        return controller
    labels = pod.metadata.labels
    return (pod.metadata.namespace, *sorted(labels.items())) if labels else None
