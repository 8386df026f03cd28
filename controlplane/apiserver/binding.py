"""Binding: how a scheduler puts a pod on a node, and eviction's body.

Pure. Called by the HTTP layer for pods/binding; the registry stores the result. Follows the Binding page
(core/v1) of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import bad_request, conflict, invalid
from controlplane.apiserver.kinds import POD
from controlplane.apiserver.openapi.scalars import json_type_name
from kubeapi.meta import format_time
from kubeapi.status import StatusCause


def read_target(name: str, binding: Mapping[str, Any]) -> str:
    """The node that a Binding names; ApiFailure if it names none."""
    target = _read_part(binding, "target")
    if target.get("kind") not in (None, "", "Node"):
        cause = StatusCause(
            reason="FieldValueNotSupported",
            field="target.kind",
            message=f'Unsupported value: "{target["kind"]}": supported values: "Node"',
        )
        raise invalid(POD, name, (cause,))
    node_name = target.get("name")
    if not isinstance(node_name, str) or not node_name:
        raise invalid(
            POD,
            name,
            (StatusCause(reason="FieldValueRequired", field="target.name", message="Required value"),),
        )
    return node_name


def bind_pod(pod: Mapping[str, Any], binding: Mapping[str, Any], now: datetime) -> Document:
    """The pod on the binding's node, with the condition that says so; a pod is bound only once."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    name = metadata["name"]
    node_name = read_target(name, binding)
    sent = _read_part(binding, "metadata")
    sent_uid = sent.get("uid")
    if sent_uid and sent_uid != metadata["uid"]:
        raise conflict(
            POD,
            name,
            f"Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {metadata['uid']}",
        )
    if "deletionTimestamp" in metadata:
        raise conflict(POD, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict(POD, name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise bad_request(f"pod {name} has non-empty .spec.schedulingGates")
    status = pod.get("status") or {}
    return {
        **pod,
        "metadata": _with_annotations(metadata, _read_part(sent, "annotations")),
        "spec": {**spec, "nodeName": node_name},
        "status": {**status, "conditions": _set_scheduled(status.get("conditions") or [], now)},
    }


def _read_part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, Mapping):
        raise bad_request(f"{name} of a Binding must be an object, not {json_type_name(part)}")
    return part


def _with_annotations(metadata: Mapping[str, Any], added: Mapping[str, Any]) -> Document:
    if not added:
        return dict(metadata)
    return {**metadata, "annotations": {**(metadata.get("annotations") or {}), **added}}


def _set_scheduled(conditions: list[Document], now: datetime) -> list[Document]:
    others = [condition for condition in conditions if condition.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": format_time(now)}
    return [*others, scheduled]
