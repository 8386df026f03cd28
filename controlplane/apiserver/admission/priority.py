"""A pod's priority and preemption policy, from its PriorityClass or the cluster's default one.

Pure. Called for new pods and new priority classes. Follows "Pod Priority and Preemption" in the Kubernetes
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import forbidden
from controlplane.apiserver.kinds import POD, PRIORITY_CLASS

DEFAULT_PREEMPTION: Final = "PreemptLowerPriority"
_DECIDED: Final = ("priority", "preemptionPolicy")


def admit_priority(pod: Document, objects: PolicyObjects) -> Document:
    """The pod with its class's priority; ApiFailure 403 if it asks for another, or names no known class."""
    spec, name = pod.get("spec") or {}, pod["metadata"].get("name", "")
    chosen = _find_class(spec.get("priorityClassName", ""), name, objects)
    priority = chosen.get("value", 0)
    preemption = chosen.get("preemptionPolicy") or DEFAULT_PREEMPTION
    if spec.get("priority", priority) != priority:
        raise forbidden(
            POD,
            name,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
            f"admission controller computed {priority} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy", preemption) != preemption:
        raise forbidden(
            POD,
            name,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod "
            f"spec; priority admission controller computed {preemption} from the given PriorityClass name",
        )
    decided = {"priority": priority, "preemptionPolicy": preemption}
    if not spec.get("priorityClassName") and chosen:
        decided["priorityClassName"] = chosen["metadata"]["name"]
    return {**pod, "spec": {**spec, **decided}}


def keep_priority(new: Document, old: Mapping[str, Any]) -> Document:
    """A pod keeps what it was given at its creation; that it doesn't change, validation sees to."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    kept = {name: before[name] for name in _DECIDED if name in before and name not in spec}
    return {**new, "spec": {**spec, **kept}} if kept else new


def admit_priority_class(priority_class: Document, objects: PolicyObjects) -> Document:
    """ApiFailure 403 for a second default class."""
    default = _find_default(objects) if priority_class.get("globalDefault") else None
    if default is not None:
        raise forbidden(
            PRIORITY_CLASS,
            priority_class["metadata"].get("name", ""),
            f"PriorityClass {default['metadata']['name']} is already marked as default. "
            "Only one default can exist",
        )
    return priority_class


def _find_class(class_name: str, pod_name: str, objects: PolicyObjects) -> Mapping[str, Any]:
    """Empty where a pod names none and there is no default."""
    if not class_name:
        return _find_default(objects) or {}
    found = objects.find(PRIORITY_CLASS, "", class_name)
    if found is None:
        raise forbidden(POD, pod_name, f"no PriorityClass with name {class_name} was found")
    return found


def _find_default(objects: PolicyObjects) -> Mapping[str, Any] | None:
    """The lowest, should there be several."""
    defaults = [each for each in objects.select(PRIORITY_CLASS) if each.get("globalDefault")]
    return min(defaults, key=lambda each: int(each.get("value", 0)), default=None)
