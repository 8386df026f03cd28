"""What a pod's RuntimeClass adds to it: overhead, node selector, tolerations.

Pure. Called for new pods. Follows "Runtime Class" and "Pod Overhead" in the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import forbidden
from controlplane.apiserver.kinds import POD, RUNTIME_CLASS
from kubeapi.quantity import QuantityError, parse_quantity


def admit_runtime_class(pod: Document, objects: PolicyObjects) -> Document:
    """The pod as its class wants it; ApiFailure 403 where the two contradict each other."""
    spec, name = pod.get("spec") or {}, pod["metadata"].get("name", "")
    class_name = spec.get("runtimeClassName")
    chosen: Mapping[str, Any] | None = {}
    if class_name:
        chosen = objects.find(RUNTIME_CLASS, "", class_name)
    if chosen is None:
        raise forbidden(POD, name, f'pod rejected: RuntimeClass "{class_name}" not found')
    spec = _set_overhead(spec, name, (chosen.get("overhead") or {}).get("podFixed") or {})
    spec = _set_scheduling(spec, name, chosen.get("scheduling") or {})
    return {**pod, "spec": spec}


def _set_overhead(spec: Document, name: str, overhead: Mapping[str, Any]) -> Document:
    given = spec.get("overhead") or {}
    if given and not overhead:
        raise forbidden(
            POD, name, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        )
    if given and not _is_same_amounts(given, overhead):
        raise forbidden(
            POD, name, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        )
    return {**spec, "overhead": dict(overhead)} if overhead else spec


def _is_same_amounts(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return one.keys() == other.keys() and all(
            parse_quantity(one[name]) == parse_quantity(other[name]) for name in one
        )
    except QuantityError:
        return False


def _set_scheduling(spec: Document, name: str, scheduling: Mapping[str, Any]) -> Document:
    if not scheduling:
        return spec
    wanted, given = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key in sorted(wanted.keys() & given.keys()):
        if wanted[key] != given[key]:
            raise forbidden(
                POD,
                name,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted[key]}; "
                f"pod.spec.nodeSelector[{key}] = {given[key]}",
            )
    tolerations = spec.get("tolerations") or []
    added = [each for each in scheduling.get("tolerations") or () if each not in tolerations]
    merged = {**spec, "nodeSelector": {**given, **wanted}, "tolerations": [*tolerations, *added]}
    return {key: value for key, value in merged.items() if value or key in spec}
