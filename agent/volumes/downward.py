"""Values of the downward API: a pod's own fields and its containers' resources, as text.

Pure. Called by `files` for volumes; environment variables have the same rules plus the status fields. Follows
the "Downward API" page of the Kubernetes documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kubeapi.meta import QuantityText
from kubeapi.pod import Container, Pod
from kubeapi.quantity import parse_quantity
from kubeapi.volume import ResourceFieldRef

_SUBSCRIPT: Final = re.compile(r"(metadata\.(?:labels|annotations))\['([^']+)'\]")


@dataclass(frozen=True, slots=True)
class FieldRefused:
    """Why a field has no value: it isn't one the downward API offers."""

    message: str


def compute_field(pod: Pod, field_path: str) -> str | FieldRefused:
    """The value of a `fieldRef` in a volume; an absent label or annotation is the empty text."""
    meta = pod.metadata
    if (subscript := _SUBSCRIPT.fullmatch(field_path)) is not None:
        values = meta.labels if subscript[1] == "metadata.labels" else meta.annotations
        return values.get(subscript[2], "")
    match field_path:
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case "metadata.labels":
            return format_map(meta.labels)
        case "metadata.annotations":
            return format_map(meta.annotations)
    return FieldRefused(
        f"unsupported fieldPath {field_path!r}; use metadata.name, .namespace, .uid, .labels, .annotations"
    )


def compute_resource(
    pod: Pod, reference: ResourceFieldRef, allocatable: Mapping[str, QuantityText]
) -> str | FieldRefused:
    """The value of a `resourceFieldRef`, rounded up to whole divisors; an absent limit is the node's
    allocatable, an absent request the limit.
    """
    container = _find_container(pod, reference.container_name)
    if container is None:
        return FieldRefused(
            f"resourceFieldRef names the container {reference.container_name!r}, which isn't in the pod"
        )
    kind, _, name = reference.resource.partition(".")
    limits, requests = container.resources.limits, container.resources.requests
    if kind not in ("limits", "requests") or not name:
        return FieldRefused(
            f"unsupported resource {reference.resource!r}; use limits.cpu, requests.memory and the like"
        )
    amount = _whole(limits.get(name, "0"), name)
    if kind == "requests":
        amount = _whole(requests[name], name) if name in requests else amount
    elif not amount:  # 0 is no limit either
        amount = _whole(allocatable.get(name, "0"), name)
    divisor = _whole(reference.divisor, name) or _whole("1", name)
    return str(-(-amount // divisor))


def format_map(values: Mapping[str, str]) -> str:
    """One `key="value"` line for each entry, sorted by key, without a final newline."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def _find_container(pod: Pod, name: str) -> Container | None:
    spec = pod.spec
    containers = (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    return next((container for container in containers if container.name == name), None)


def _whole(value: QuantityText, resource: str) -> int:
    quantity = parse_quantity(value)
    return quantity.millis() if resource == "cpu" else quantity.units()
