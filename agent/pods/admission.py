"""Whether this node takes a pod that it has never had before.

Pure. Called by the lanes once for each pod; a refused pod is Failed for good. Reasons and messages are those
of the kubelet's admission; the scheduler has asked the same before, but static pods and races come past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kubeapi.core import Node, Taint
from kubeapi.meta import QuantityText
from kubeapi.pod import NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSecurityContext, Toleration
from kubeapi.quantity import parse_quantity

_SAFE_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is one word, as the pod's status shows it."""

    reason: str
    message: str


def admit_pod(pod: Pod, node: Node | None, others: Iterable[Pod], max_pods: int) -> Refusal | None:
    """None: the pod may run. `others` are the pods that hold resources here; a node not known yet refuses
    nothing.
    """
    present = tuple(others)
    checks = (
        _check_os(pod),
        _check_user_namespace(pod),
        _check_sysctls(pod),
        _check_pod_limit(present, max_pods),
        _check_resources(pod, node, present),
        _check_node_affinity(pod, node),
        _check_taints(pod, node),
        _check_ports(pod, present),
    )
    return next((refusal for refusal in checks if refusal is not None), None)


def _check_os(pod: Pod) -> Refusal | None:
    if pod.spec.os is None or pod.spec.os.name in ("", "linux"):
        return None
    message = "Failed to admit pod as the OS field doesn't match node OS"
    return Refusal("PodOSNotSupported", message)


def _check_user_namespace(pod: Pod) -> Refusal | None:
    """Running it without one would quietly give it the host's users."""
    if pod.spec.host_users is not False:
        return None
    return Refusal("UserNamespacesNotSupported", "this node has no user namespaces for pods yet")


def _check_sysctls(pod: Pod) -> Refusal | None:
    context = pod.spec.security_context or PodSecurityContext()
    for sysctl in context.sysctls:
        name = sysctl.name.replace("/", ".")
        if name not in _SAFE_SYSCTLS:
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        if pod.spec.host_network and name.startswith("net."):
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host net enabled')
    return None


def _check_pod_limit(others: tuple[Pod, ...], max_pods: int) -> Refusal | None:
    if len(others) < max_pods:
        return None
    return _out_of("pods", 1, len(others), max_pods)


def _check_resources(pod: Pod, node: Node | None, others: tuple[Pod, ...]) -> Refusal | None:
    allocatable = node.status.allocatable if node is not None else {}
    for name, text in allocatable.items():
        wanted = compute_request(pod, name)
        if name == "pods" or not wanted:
            continue
        used = sum(compute_request(other, name) for other in others)
        capacity = _amount({name: text}, name)
        if used + wanted > capacity:
            return _out_of(name, wanted, used, capacity)
    return None


def _out_of(resource: str, requested: int, used: int, capacity: int) -> Refusal:
    return Refusal(
        f"OutOf{resource}",
        f"Node didn't have enough resource: {resource}, "
        f"requested: {requested}, used: {used}, capacity: {capacity}",
    )


def compute_request(pod: Pod, resource: str) -> int:
    """What the pod holds of a resource (CPU in millicores): its app containers and sidecars together, or more
    where an init container needs more beside the sidecars before it.
    """
    sidecars, peak = 0, 0
    for init in pod.spec.init_containers:
        amount = _amount(init.resources.requests, resource)
        if init.restart_policy == "Always":
            sidecars += amount
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + amount)
    apps = sum(_amount(container.resources.requests, resource) for container in pod.spec.containers)
    return max(apps + sidecars, peak) + _amount(pod.spec.overhead, resource)


def _amount(quantities: Mapping[str, QuantityText], resource: str) -> int:
    if resource not in quantities:
        return 0
    quantity = parse_quantity(quantities[resource])
    return quantity.millis() if resource == "cpu" else quantity.units()


def _check_node_affinity(pod: Pod, node: Node | None) -> Refusal | None:
    if node is None:
        return None
    labels = node.metadata.labels
    fits = all(labels.get(key) == value for key, value in pod.spec.node_selector.items())
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is not None:
        fits = fits and any(_matches_term(term, node) for term in required.node_selector_terms)
    if fits:
        return None
    message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    return Refusal("NodeAffinity", message)


def _matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_matches(requirement, node.metadata.labels) for requirement in term.match_expressions) and all(
        _matches(requirement, fields) for requirement in term.match_fields
    )


def _matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compare(requirement, value)
        case _:
            return False


def _compare(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    try:
        found, bound = int(value or ""), int(requirement.values[0])
    except (ValueError, IndexError):
        return False
    return found > bound if requirement.operator == "Gt" else found < bound


def _check_taints(pod: Pod, node: Node | None) -> Refusal | None:
    taints = node.spec.taints if node is not None else ()
    for taint in taints:
        if taint.effect == "NoExecute" and not any(_tolerates(t, taint) for t in pod.spec.tolerations):
            return Refusal("TaintToleration", "Predicate TaintToleration failed")
    return None


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def _check_ports(pod: Pod, others: tuple[Pod, ...]) -> Refusal | None:
    taken = {port for other in others for port in _list_host_ports(other)}
    for protocol, address, number in _list_host_ports(pod):
        for other_protocol, other_address, other_number in taken:
            same_address = address == other_address or not address or not other_address
            if same_address and (protocol, number) == (other_protocol, other_number):
                message = (
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                )
                return Refusal("NodePorts", message)
    return None


def _list_host_ports(pod: Pod) -> Iterator[tuple[str, str, int]]:
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield port.protocol, "" if port.host_ip == "0.0.0.0" else port.host_ip, number
