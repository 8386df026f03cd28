"""Whether this node takes a pod that it has never had before.

Pure. Called by the lanes once for each pod; a refused pod is Failed for good. Reasons and messages are those
of the kubelet's admission; the scheduler has asked the same before, but static pods and races come past it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.pods.critical_pods import choose_preempted, is_critical
from agent.pods.goal import is_sidecar, is_static
from agent.pods.security.app_armor import asks_for_app_armor
from agent.pods.security.sysctls import find_forbidden_sysctl
from agent.resources.requests import compute_pod_request, list_requested, read_amount
from agent.runtime.values import HandlerFeatures
from kubeapi.core import Node, Taint
from kubeapi.pod import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSecurityContext,
    Toleration,
)

_OS_LABEL: Final = "kubernetes.io/os"
_MINIMUM: Final = HandlerFeatures()


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is one word, as the pod's status shows it."""

    reason: str
    message: str
    resource: str = ""  # what the node lacks, if it is that
    lacking: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """`preempted`: the pods that have to end for it."""

    refusal: Refusal | None = None
    preempted: tuple[Pod, ...] = ()


def admit_pod(
    pod: Pod,
    node: Node | None,
    others: Iterable[Pod],
    max_pods: int,
    features: HandlerFeatures | None = _MINIMUM,
) -> Refusal | None:
    """None: the pod may run. `others` are the pods that hold resources here; a node not known yet refuses
    nothing, and neither do `features` of the pod's runtime handler that aren't known yet.
    """
    return next(_list_refusals(pod, node, tuple(others), max_pods, features), None)


def admit_new_pod(
    pod: Pod,
    node: Node | None,
    others: Iterable[Pod],
    max_pods: int,
    *,
    app_armor: bool = True,
    features: HandlerFeatures | None = _MINIMUM,
) -> Admission:
    """As `admit_pod`; a critical pod that lacks nothing but resources has others make room for it.

    `app_armor`: whether the kernel enforces profiles.
    """
    present = tuple(others)
    refusals = tuple(_list_refusals(pod, node, present, max_pods, features))
    if not app_armor and (unenforced := _check_app_armor(pod)) is not None:
        refusals = (*refusals, unenforced)
    if not refusals:
        return Admission()
    lacking = {refusal.resource: refusal.lacking for refusal in refusals}
    if is_critical(pod) and "" not in lacking:
        preempted = choose_preempted(pod, present, lacking)
        if preempted is not None:
            return Admission(preempted=preempted)
    return Admission(refusals[0])


def _list_refusals(
    pod: Pod,
    node: Node | None,
    others: tuple[Pod, ...],
    max_pods: int,
    features: HandlerFeatures | None,
) -> Iterator[Refusal]:
    """In the order in which the kubelet asks."""
    for refusal in (
        _check_sysctls(pod),
        _check_os_label(pod),
        _check_os(pod),
        find_unsupported(pod, features) if features is not None else None,
    ):
        if refusal is not None:
            yield refusal
    yield from _check_pod_limit(others, max_pods)
    yield from list_shortages(pod, node, others)
    for refusal in (
        _check_node_affinity(pod, node),
        _check_node_name(pod, node),
        _check_ports(pod, others),
        _check_taints(pod, node),
    ):
        if refusal is not None:
            yield refusal


def _check_app_armor(pod: Pod) -> Refusal | None:
    """For a kernel without AppArmor: a profile that is asked for would quietly not be there."""
    if not asks_for_app_armor(pod):
        return None
    return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def asks_for_features(pod: Pod) -> bool:
    """Whether `find_unsupported` has anything to ask."""
    return find_unsupported(pod, _MINIMUM) is not None


def find_unsupported(pod: Pod, features: HandlerFeatures) -> Refusal | None:
    """What the pod asks of its runtime handler that this one can't do: it would quietly be left out."""
    if pod.spec.host_users is False:
        if not features.user_namespaces:
            message = "the container runtime has no user namespaces for pods of this runtime class"
            return Refusal("UserNamespacesNotSupported", message)
        if pod.spec.host_network or pod.spec.host_pid or pod.spec.host_ipc:
            message = "a pod with hostUsers: false can't use the host's network, processes or IPC"
            return Refusal("UserNamespacesNotSupported", message)
    context = pod.spec.security_context or PodSecurityContext()
    policy = context.supplemental_groups_policy
    if policy in (None, "", "Merge") or (policy == "Strict" and features.supplemental_groups_policy):
        return None
    message = f"SupplementalGroupsPolicy={policy} is not supported in this node"
    return Refusal("SupplementalGroupsPolicyNotSupported", message)


def _check_os_label(pod: Pod) -> Refusal | None:
    if pod.spec.node_selector.get(_OS_LABEL, "linux") == "linux":
        return None
    message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
    return Refusal("PodOSSelectorNodeLabelDoesNotMatch", message)


def _check_os(pod: Pod) -> Refusal | None:
    if pod.spec.os is None or pod.spec.os.name in ("", "linux"):
        return None
    message = "Failed to admit pod as the OS field doesn't match node OS"
    return Refusal("PodOSNotSupported", message)


def _check_sysctls(pod: Pod) -> Refusal | None:
    forbidden = find_forbidden_sysctl(pod)
    return None if forbidden is None else Refusal("SysctlForbidden", forbidden)


def _check_pod_limit(others: tuple[Pod, ...], max_pods: int) -> Iterator[Refusal]:
    if len(others) >= max_pods:
        yield _out_of("pods", 1, len(others), max_pods)


def list_shortages(
    pod: Pod, node: Node | None, others: tuple[Pod, ...], only: Collection[str] = ()
) -> Iterator[Refusal]:
    """Each resource that the node has too little of beside what `others` request; of all that the pod
    requests, or of these `only`.

    What is of a domain of its own and unknown to this node is somebody else's to give.
    """
    allocatable = node.status.allocatable if node is not None else {}
    if not allocatable:
        return
    for name in only or list_requested(pod):
        wanted = compute_pod_request(pod, name)
        if not wanted or (_is_extended(name) and name not in allocatable):
            continue
        used = sum(compute_pod_request(other, name) for other in others)
        capacity = read_amount(allocatable, name)
        if used + wanted > capacity:
            yield _out_of(name, wanted, used, capacity)


def _is_extended(resource: str) -> bool:
    domain, slash, _ = resource.rpartition("/")
    return bool(slash) and not (domain == "kubernetes.io" or domain.endswith(".kubernetes.io"))


def _out_of(resource: str, requested: int, used: int, capacity: int) -> Refusal:
    return Refusal(
        f"OutOf{resource}",
        f"Node didn't have enough resource: {resource}, "
        f"requested: {requested}, used: {used}, capacity: {capacity}",
        resource,
        requested + used - capacity,
    )


def _check_node_name(pod: Pod, node: Node | None) -> Refusal | None:
    if node is None or pod.spec.node_name in ("", node.metadata.name):
        return None
    return Refusal("NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name")


def _check_node_affinity(pod: Pod, node: Node | None) -> Refusal | None:
    if node is None:
        return None
    labels = node.metadata.labels
    fits = all(labels.get(key) == value for key, value in pod.spec.node_selector.items())
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is not None:
        fits = fits and matches_node_selector(required, node)
    if fits:
        return None
    message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    return Refusal("NodeAffinity", message)


def matches_node_selector(selector: NodeSelector, node: Node) -> bool:
    """Whether one of the terms takes the node; none at all take no node."""
    return any(_matches_term(term, node) for term in selector.node_selector_terms)


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
    """Of taints only NoExecute counts here, and static pods, which no scheduler ever saw, are exempt."""
    taints = node.spec.taints if node is not None and not is_static(pod) else ()
    for taint in taints:
        if taint.effect == "NoExecute" and not any(_tolerates(t, taint) for t in pod.spec.tolerations):
            message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
            return Refusal("TaintToleration", message)
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
    """Of what runs side by side: a plain init container is over before the others need a port."""
    for container in (*filter(is_sidecar, pod.spec.init_containers), *pod.spec.containers):
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield port.protocol, "" if port.host_ip == "0.0.0.0" else port.host_ip, number
