"""What makes a pod from a manifest different from the API's, and what its mirror pod looks like.

Pure. Called by `manifests` with each Pod of a file. The name gets the node's name as its end, and the uid
follows from the content, so that a changed file is another pod. Follows the "Create static Pods" page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec

from agent.pods.goal import HASH_ANNOTATION, MIRROR_ANNOTATION, SEEN_ANNOTATION, SOURCE_ANNOTATION
from agent.pods.sources.api_references import list_api_references
from kubeapi.pod import Container, Pod, PodSpec

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_MAX_NAME: Final = 253
_PRIORITIES: Final = MappingProxyType(
    {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
)


class ManifestError(Exception):
    """One sentence: which file, what is wrong with it, what to do."""


@dataclass(frozen=True, slots=True)
class ManifestRules:
    """What the directory may hold: kinds, and (plurals of) kinds of objects that its pods may refer to."""

    kinds: tuple[str, ...]
    references: frozenset[str]

    def describe_kinds(self) -> str:
        if len(self.kinds) == 1:
            return f"only v1 {self.kinds[0]}s can be static"
        return f"only v1 {', '.join(self.kinds[:-1])} and {self.kinds[-1]} can be used here"


BESIDE_AN_API_SERVER: Final = ManifestRules(("Pod",), frozenset())
ALONE: Final = ManifestRules(("Pod", "ConfigMap", "Secret", "Service"), frozenset({"configmaps", "secrets"}))


@dataclass(frozen=True, slots=True)
class StaticPod:
    """`document` is the pod as a whole in JSON's own names, for the mirror pod."""

    pod: Pod
    document: Mapping[str, Any]


def complete_pod(
    path: str, document: dict[str, Any], node_name: str, seen: str, rules: ManifestRules
) -> StaticPod:
    """The pod of a manifest; raises ManifestError and msgspec.ValidationError."""
    metadata = {**get_mapping(path, document, "metadata")}
    annotations = get_mapping(path, metadata, "annotations")
    name = check_name(path, "Pod", metadata.get("name"), len(node_name) + 1)
    digest = _digest(document, node_name)
    metadata |= {
        "name": f"{name}-{node_name.lower()}",
        "namespace": check_name(path, "namespace", metadata.get("namespace") or "default"),
        "uid": digest,
        "annotations": {
            **annotations,
            HASH_ANNOTATION: digest,
            SEEN_ANNOTATION: seen,
            SOURCE_ANNOTATION: "file",
        },
    }
    spec = _complete_spec(path, get_mapping(path, document, "spec"), node_name)
    whole = {**document, "metadata": metadata, "spec": spec}
    whole.pop("status", None)
    pod = msgspec.convert(whole, Pod, strict=True)
    _check(path, pod, rules)
    return StaticPod(_with_defaults(pod), whole)


def check_name(path: str, kind: str, name: object, room: int = 0) -> str:
    """The name, if it is one and leaves room for what comes behind it; raises ManifestError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) + room > _MAX_NAME:
        raise ManifestError(
            f"{path} names its {kind} {name!r}, which is no DNS subdomain; "
            "use lower case letters, digits and '-'"
        )
    return name


def _check(path: str, pod: Pod, rules: ManifestRules) -> None:
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    names = [container.name for container in containers]
    volumes = [volume.name for volume in pod.spec.volumes]
    if not pod.spec.containers:
        raise ManifestError(f"{path} has no containers; add at least one to spec.containers")
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise ManifestError(f"{path} has containers without a name of their own; name each differently")
    if len(set(volumes)) < len(volumes) or not all(_NAME.fullmatch(name) for name in volumes):
        raise ManifestError(f"{path} has volumes without a name of their own; name each differently")
    if not all(container.image for container in containers):
        raise ManifestError(f"{path} has a container without an image; name one")
    if forbidden := sorted(list_api_references(pod) - rules.references):
        raise ManifestError(
            f"{path} has a Pod that refers to {', '.join(forbidden)}, which static pods may not reference; "
            "use literal values and hostPath or emptyDir volumes"
        )


def get_mapping(path: str, document: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """The field, empty where it's left out; raises ManifestError when it's something else."""
    found = document.get(field)
    if found is not None and not isinstance(found, dict):
        raise ManifestError(f"{path} has a {field} that is no mapping; write `key: value` below it")
    return found or {}


def _get_list(path: str, document: Mapping[str, Any], field: str) -> list[Any]:
    found = document.get(field)
    if found is not None and not isinstance(found, list):
        raise ManifestError(f"{path} has {field} that are no list; begin each with '-'")
    return found or []


def _complete_spec(path: str, spec: Mapping[str, Any], node_name: str) -> dict[str, Any]:
    """Static pods stay whatever taint appears; a volume of no kind is an emptyDir."""
    everything = {"operator": "Exists", "effect": "NoExecute"}
    volumes = [
        {**volume, "emptyDir": {}} if isinstance(volume, dict) and volume.keys() == {"name"} else volume
        for volume in _get_list(path, spec, "volumes")
    ]
    tolerations = [*_get_list(path, spec, "tolerations"), everything]
    return {**spec, "nodeName": node_name, "tolerations": tolerations, "volumes": volumes}


def _with_defaults(pod: Pod) -> Pod:
    """What the API server would have set and the views' own defaults can't know."""
    spec = pod.spec
    return msgspec.structs.replace(
        pod,
        spec=msgspec.structs.replace(
            spec,
            containers=tuple(_with_container_defaults(each, spec) for each in spec.containers),
            init_containers=tuple(_with_container_defaults(each, spec) for each in spec.init_containers),
            priority=_PRIORITIES.get(spec.priority_class_name) if spec.priority is None else spec.priority,
        ),
    )


def _with_container_defaults(container: Container, spec: PodSpec) -> Container:
    """What is limited is requested, unless it says otherwise; on the host's network, ports are the host's."""
    limits, requests = container.resources.limits, container.resources.requests
    ports = container.ports
    if spec.host_network:
        ports = tuple(
            msgspec.structs.replace(port, host_port=port.host_port or port.container_port) for port in ports
        )
    resources = msgspec.structs.replace(container.resources, requests={**limits, **requests})
    return msgspec.structs.replace(container, ports=ports, resources=resources)


def _digest(document: Mapping[str, Any], node_name: str) -> str:
    canonical = msgspec.json.encode([node_name, document], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:32]


def build_mirror_document(static: StaticPod, node_uid: str) -> Mapping[str, Any]:
    """The mirror pod to create: the same pod, owned by the node, without the uid that the API gives out
    itself.
    """
    metadata = {key: value for key, value in static.document["metadata"].items() if key != "uid"}
    digest = static.pod.metadata.uid
    metadata["annotations"] = {**metadata["annotations"], MIRROR_ANNOTATION: digest}
    if node_uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "name": static.pod.spec.node_name,
                "uid": node_uid,
                "controller": True,
            }
        ]
    return {**static.document, "metadata": metadata}
