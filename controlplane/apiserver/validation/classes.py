"""Validation of the classes that pods name: RuntimeClass and PriorityClass.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid, not_supported, required
from controlplane.apiserver.validation.metadata import IMMUTABLE, check_labels
from controlplane.apiserver.validation.names import check_label
from controlplane.apiserver.validation.resources import check_resources
from controlplane.apiserver.validation.scheduling import check_tolerations

SYSTEM_PRIORITIES: Final[Mapping[str, int]] = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
"""The priority classes that every cluster has."""

_HIGHEST_USER_PRIORITY: Final = 1_000_000_000
_PREEMPTION_POLICIES: Final = ("Never", "PreemptLowerPriority")


def check_runtime_class(runtime_class: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a RuntimeClass."""
    name = runtime_class.get("handler", "")
    for problem in check_label(name):
        yield invalid("handler", name, problem)
    overhead = runtime_class.get("overhead", {}).get("podFixed", {})
    yield from check_resources({"limits": overhead}, "overhead")
    scheduling = runtime_class.get("scheduling", {})
    yield from check_labels(scheduling.get("nodeSelector", {}), "scheduling.nodeSelector")
    yield from check_tolerations(scheduling.get("tolerations", ()), "scheduling.tolerations")


def check_runtime_class_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """A class keeps its handler."""
    if new.get("handler") != old.get("handler"):
        yield invalid("handler", new.get("handler", ""), IMMUTABLE)


def check_priority_class(priority_class: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a PriorityClass."""
    name, value = priority_class.get("metadata", {}).get("name", ""), priority_class.get("value", 0)
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value or priority_class.get("globalDefault"):
            yield forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only",
            )
    elif value > _HIGHEST_USER_PRIORITY:
        yield forbidden(
            "value", f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        )
    policy = priority_class.get("preemptionPolicy", "")
    if not policy:
        yield required("preemptionPolicy")
    elif policy not in _PREEMPTION_POLICIES:
        yield not_supported("preemptionPolicy", policy, _PREEMPTION_POLICIES)


def check_priority_class_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """A class keeps its value and its policy."""
    if new.get("value", 0) != old.get("value", 0):
        yield forbidden("value", "may not be changed in an update.")
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        yield invalid("preemptionPolicy", new.get("preemptionPolicy"), IMMUTABLE)
