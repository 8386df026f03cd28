"""The Node object of this machine: what it is to hold, and whether the API server has to be told.

Pure: facts and time arrive as arguments. Called by `reporter`. Follows the Node page of the API reference and
the kubelet's ways of filling it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from agent.node.conditions import DISK_RESERVE_PERCENT, MEMORY_RESERVE_BYTES, RuntimeView, build_conditions
from agent.node.facts import MachineFacts
from agent.runtime.values import RuntimeFeatures, RuntimeImage, RuntimeVersion
from kubeapi.core import (
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeDaemonEndpoints,
    NodeFeatures,
    NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures,
    NodeStatus,
    NodeSystemInfo,
)
from kubeapi.meta import Condition, QuantityText

KUBELET_VERSION: Final = "v1.36.0+berth"
_MAX_IMAGES: Final = 50
_MAX_NAMES: Final = 5


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What doesn't change while the agent runs."""

    name: str
    ip: str
    port: int
    max_pods: int
    labels: Mapping[str, str]
    more_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the machine and its runtime."""

    facts: MachineFacts
    runtime: RuntimeView
    version: RuntimeVersion | None
    images: tuple[RuntimeImage, ...]
    features: RuntimeFeatures | None = None


def build_labels(identity: NodeIdentity, facts: MachineFacts) -> Mapping[str, str]:
    """The labels that the agent owns on its Node."""
    return {
        **identity.labels,
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": facts.architecture,
    }


def build_node(identity: NodeIdentity, observation: Observation, now: str) -> Mapping[str, object]:
    """The document that registers the Node."""
    status = build_status(identity, observation, None, now)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": identity.name, "labels": dict(build_labels(identity, observation.facts))},
        "spec": {},
        "status": msgspec.to_builtins(status),
    }


def plan_label_patch(identity: NodeIdentity, facts: MachineFacts, node: Node) -> Mapping[str, object] | None:
    """The merge patch that gives an existing Node our labels, or None when it has them."""
    missing = {
        name: value
        for name, value in build_labels(identity, facts).items()
        if node.metadata.labels.get(name) != value
    }
    return {"metadata": {"labels": missing}} if missing else None


def build_status(
    identity: NodeIdentity, observation: Observation, known: NodeStatus | None, now: str
) -> NodeStatus:
    """The status to report; `known` is what was reported last, for the times of transition."""
    conditions: Mapping[str, Condition] = {each.type: each for each in known.conditions} if known else {}
    facts = observation.facts
    return NodeStatus(
        capacity=build_capacity(facts, identity.max_pods),
        allocatable=build_allocatable(facts, identity.max_pods),
        conditions=build_conditions(facts, observation.runtime, conditions, now),
        addresses=(
            *(NodeAddress(type="InternalIP", address=ip) for ip in (identity.ip, *identity.more_ips)),
            NodeAddress(type="Hostname", address=identity.name),
        ),
        daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=identity.port)),
        node_info=_build_system_info(facts, observation.version, known),
        images=_build_images(observation.images),
        runtime_handlers=_build_handlers(observation.features or RuntimeFeatures()),
        features=_build_features(observation.features),
    )


def _build_features(features: RuntimeFeatures | None) -> NodeFeatures | None:
    if features is None:
        return None
    return NodeFeatures(supplemental_groups_policy=features.supplemental_groups_policy)


def _build_handlers(features: RuntimeFeatures) -> tuple[NodeRuntimeHandler, ...]:
    return tuple(
        NodeRuntimeHandler(
            name=name,
            features=NodeRuntimeHandlerFeatures(
                recursive_read_only_mounts=handler.recursive_read_only,
                user_namespaces=handler.user_namespaces,
            ),
        )
        for name, handler in sorted(features.handlers.items())
    )


def is_same_report(one: NodeStatus, other: NodeStatus) -> bool:
    """Whether two statuses tell the same, the times of heartbeats aside."""
    return _without_heartbeats(one) == _without_heartbeats(other)


def shows_report(shown: NodeStatus, reported: NodeStatus) -> bool:
    """Whether the Node in the API still says what was reported: the node lifecycle controller writes Unknown
    over the conditions of a node that was silent for too long. Conditions of others don't count.
    """
    found = {each.type: (each.status, each.reason, each.message) for each in shown.conditions}
    return all(
        found.get(each.type) == (each.status, each.reason, each.message) for each in reported.conditions
    )


def is_ready(status: NodeStatus) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in status.conditions)


def build_capacity(facts: MachineFacts, max_pods: int) -> Mapping[str, QuantityText]:
    return {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_total_bytes // 1024}Ki",
        "ephemeral-storage": f"{facts.disk_total_bytes // 1024}Ki",
        "pods": str(max_pods),
    }


def build_allocatable(facts: MachineFacts, max_pods: int) -> Mapping[str, QuantityText]:
    """Capacity less what is kept back for the node: what eviction would otherwise take back at once."""
    memory = max(facts.memory_total_bytes - MEMORY_RESERVE_BYTES, 0)
    disk = facts.disk_total_bytes * (100 - DISK_RESERVE_PERCENT) // 100
    return {
        "cpu": str(facts.cpus),
        "memory": f"{memory // 1024}Ki",
        "ephemeral-storage": str(disk),
        "pods": str(max_pods),
    }


def _build_system_info(
    facts: MachineFacts, version: RuntimeVersion | None, known: NodeStatus | None
) -> NodeSystemInfo:
    """A runtime that can't be asked now keeps the version it had."""
    last = known.node_info.container_runtime_version if known is not None else ""
    return NodeSystemInfo(
        machine_id=facts.machine_id,
        system_uuid=facts.system_uuid or facts.machine_id,
        boot_id=facts.boot_id,
        kernel_version=facts.kernel_version,
        os_image=facts.os_image,
        container_runtime_version=f"{version.name}://{version.version.removeprefix('v')}"
        if version
        else last,
        kubelet_version=KUBELET_VERSION,
        operating_system="linux",
        architecture=facts.architecture,
    )


def _build_images(images: tuple[RuntimeImage, ...]) -> tuple[ContainerImage, ...]:
    """The largest first, as the scheduler's image locality wants them."""
    named = [image for image in images if image.digests or image.tags]
    largest = sorted(named, key=lambda image: (-image.size_bytes, image.id))[:_MAX_IMAGES]
    return tuple(
        ContainerImage(names=(*image.digests, *image.tags)[:_MAX_NAMES], size_bytes=image.size_bytes)
        for image in largest
    )


def _without_heartbeats(status: NodeStatus) -> NodeStatus:
    conditions = tuple(
        msgspec.structs.replace(condition, last_heartbeat_time=None) for condition in status.conditions
    )
    return msgspec.structs.replace(status, conditions=conditions)
