"""A pod's wanted resources against those the node has allocated to it, and whether the node gives more.

Pure. The lanes keep pods with their allocated resources, so that everything that reads a pod sees what it
really has; what it wants beyond that waits in the `ResourceRecord` of its checkpoint until `decide_resize`
has it accepted. Called by the lanes. Follows KEP-1287 as of Kubernetes 1.35; reasons and messages are the
kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from agent.checkpoint.records import PodRecord, ResourceRecord
from agent.pods.admission import Refusal, list_shortages
from agent.pods.goal import is_sidecar, is_static
from agent.resources.qos import QOSClass, compute_qos_class
from agent.resources.requests import COMPUTE, compute_pod_request, read_amount
from kubeapi.core import Node
from kubeapi.meta import QuantityText
from kubeapi.pod import Container, Pod, ResourceRequirements

ResourceMap = Mapping[str, ResourceRequirements]
"""Resources by the name of their container."""


class PendingReason(Enum):
    """Why a wanted resize isn't allocated: the reasons of the condition PodResizePending."""

    DEFERRED = "Deferred"
    INFEASIBLE = "Infeasible"


_QOS_ORDER = {QOSClass.GUARANTEED: 0, QOSClass.BURSTABLE: 1, QOSClass.BEST_EFFORT: 2}


def list_resizable(pod: Pod) -> tuple[Container, ...]:
    """The containers whose resources may change: app containers and sidecars."""
    return (*filter(is_sidecar, pod.spec.init_containers), *pod.spec.containers)


def with_resources(pod: Pod, resources: ResourceMap) -> Pod:
    """The pod with these resources in the containers that are named."""
    if not resources:
        return pod
    spec = msgspec.structs.replace(
        pod.spec,
        init_containers=tuple(_with_own(each, resources) for each in pod.spec.init_containers),
        containers=tuple(_with_own(each, resources) for each in pod.spec.containers),
    )
    return msgspec.structs.replace(pod, spec=spec)


def _with_own(container: Container, resources: ResourceMap) -> Container:
    own = resources.get(container.name)
    return container if own is None else msgspec.structs.replace(container, resources=own)


def split_wish(allocated: Pod, shown: Pod) -> tuple[Pod, ResourceMap]:
    """The pod as its source shows it now, but with the resources allocated to it; and what it wants instead,
    of the containers where that differs.
    """
    known = {each.name: each.resources for each in list_resizable(allocated)}
    wanted = {
        each.name: each.resources
        for each in list_resizable(shown)
        if each.name in known and has_changed(known[each.name], each.resources)
    }
    return with_resources(shown, {name: known[name] for name in wanted}), wanted


def has_changed(old: ResourceRequirements, new: ResourceRequirements) -> bool:
    """Whether the amounts of CPU or memory differ, however they are written."""
    return any(
        read_amount(before, name) != read_amount(after, name)
        for before, after in ((old.requests, new.requests), (old.limits, new.limits))
        for name in COMPUTE
    )


def widen(one: ResourceRequirements, other: ResourceRequirements) -> ResourceRequirements:
    """Wide enough for both: of CPU and memory the larger request and limit, no limit where one has none."""
    requests = {
        name: _choose_larger(one.requests, other.requests, name)
        for name in COMPUTE
        if name in one.requests or name in other.requests
    }
    limits = {
        name: _choose_larger(one.limits, other.limits, name)
        for name in COMPUTE
        if name in one.limits and name in other.limits
    }
    return ResourceRequirements(requests=requests, limits=limits)


def _choose_larger(
    one: Mapping[str, QuantityText], other: Mapping[str, QuantityText], name: str
) -> QuantityText:
    return (one if read_amount(one, name) >= read_amount(other, name) else other)[name]


def note_wish(record: PodRecord, shown: Pod) -> tuple[Pod, ResourceRecord]:
    """What a record keeps when its source shows the pod anew; another wish is another decision to make."""
    pod, wanted = split_wish(record.pod, shown)
    resources = record.resources
    if wanted != resources.wanted:
        resources = msgspec.structs.replace(resources, wanted=wanted, reason="", message="", since=None)
    return pod, resources


def decide_resize(pod: Pod, wanted: ResourceMap, node: Node | None, others: Iterable[Pod]) -> Refusal | None:
    """None: the node gives what is wanted. `others` are the other pods that hold resources here."""
    if is_static(pod):
        return _refuse(PendingReason.INFEASIBLE, "In-place resize of static-pods is not supported")
    resized = with_resources(pod, wanted)
    never = _find_overcommitment(resized, node)
    if never:
        return _refuse(PendingReason.INFEASIBLE, f"Node didn't have enough capacity: {never}")
    lacking = next(list_shortages(resized, node, tuple(others), only=COMPUTE), None)
    return _refuse(PendingReason.DEFERRED, lacking.message) if lacking is not None else None


def _refuse(reason: PendingReason, message: str) -> Refusal:
    return Refusal(reason.value, message)


def _find_overcommitment(pod: Pod, node: Node | None) -> str:
    """What is more than the whole node could ever give, memory named first; empty if nothing is."""
    allocatable = node.status.allocatable if node is not None else {}
    for resource in reversed(COMPUTE):
        if resource not in allocatable:
            continue
        requested, capacity = compute_pod_request(pod, resource), read_amount(allocatable, resource)
        if requested > capacity:
            return f"{resource}, requested: {requested}, capacity: {capacity}"
    return ""


def note_decision(record: PodRecord, refusal: Refusal | None, now: float) -> PodRecord:
    """The record after its wish was decided: allocated, to be carried out from now on, or put off."""
    resources = record.resources
    since = resources.since if resources.since is not None else now
    if refusal is not None:
        put_off = msgspec.structs.replace(
            resources, reason=refusal.reason, message=refusal.message, since=since
        )
        return msgspec.structs.replace(record, resources=put_off)
    allocated = msgspec.structs.replace(
        resources, wanted={}, reason="", message="", since=None, in_progress=True, allocated_at=now
    )
    pod = with_resources(record.pod, resources.wanted)
    return msgspec.structs.replace(record, pod=pod, resources=allocated)


def compute_turn(record: PodRecord) -> tuple[int, int, float]:
    """By which resizes that wait are tried in order: priority, then QoS class, then how long they wait."""
    pod = record.pod
    since = record.resources.since
    return (
        -(pod.spec.priority or 0),
        _QOS_ORDER[compute_qos_class(pod.spec)],
        since if since is not None else float("inf"),
    )
