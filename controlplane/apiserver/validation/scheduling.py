"""Validation of what decides where a pod runs: affinity, tolerations, spreading.

Pure. Called by the pod's validation; a node's taints follow the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, duplicate, invalid, not_supported, required
from controlplane.apiserver.validation.label_selectors import check_label_selector, check_node_selector_term
from controlplane.apiserver.validation.names import check_label_value, check_qualified_name

TAINT_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_SPREAD_ACTIONS: Final = ("DoNotSchedule", "ScheduleAnyway")


def check_tolerations(tolerations: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    """Broken rules of a pod's tolerations."""
    for index, toleration in enumerate(tolerations):
        place, key = f"{path}[{index}]", toleration.get("key", "")
        operator, value = toleration.get("operator", ""), toleration.get("value", "")
        for problem in check_qualified_name(key) if key else ():
            yield invalid(f"{place}.key", key, problem)
        if not key and operator != "Exists":
            yield invalid(
                f"{place}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
            yield invalid(
                f"{place}.effect",
                toleration.get("effect", ""),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            )
        yield from _check_operator(operator, value, place)
        if toleration.get("effect") and toleration["effect"] not in TAINT_EFFECTS:
            yield not_supported(f"{place}.effect", toleration["effect"], TAINT_EFFECTS)


def _check_operator(operator: str, value: str, path: str) -> Iterator[Cause]:
    match operator:
        case "" | "Equal":
            for problem in check_label_value(value):
                yield invalid(f"{path}.operator", value, problem)
        case "Exists":
            if value:
                yield invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
        case _:
            yield not_supported(f"{path}.operator", operator, ("Equal", "Exists"))


def check_affinity(affinity: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of node affinity, pod affinity and pod anti-affinity."""
    if "nodeAffinity" in affinity:
        yield from _check_node_affinity(affinity["nodeAffinity"], f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        rules, place = affinity.get(name, {}), f"{path}.{name}"
        for index, term in enumerate(rules.get(_REQUIRED, ())):
            yield from _check_pod_term(term, f"{place}.{_REQUIRED}[{index}]")
        for index, weighted in enumerate(rules.get(_PREFERRED, ())):
            item = f"{place}.{_PREFERRED}[{index}]"
            yield from _check_weight(weighted.get("weight", 0), f"{item}.weight")
            yield from _check_pod_term(weighted.get("podAffinityTerm", {}), f"{item}.podAffinityTerm")


def _check_node_affinity(rules: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if _REQUIRED in rules:
        terms, place = rules[_REQUIRED].get("nodeSelectorTerms", ()), f"{path}.{_REQUIRED}.nodeSelectorTerms"
        if not terms:
            yield required(place, "must have at least one node selector term")
        for index, term in enumerate(terms):
            yield from check_node_selector_term(term, f"{place}[{index}]")
    for index, weighted in enumerate(rules.get(_PREFERRED, ())):
        place = f"{path}.{_PREFERRED}[{index}]"
        yield from _check_weight(weighted.get("weight", 0), f"{place}.weight")
        yield from check_node_selector_term(weighted.get("preference", {}), f"{place}.preference")


def _check_weight(weight: int, path: str) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield invalid(path, weight, "must be in the range 1-100")


def _check_pod_term(term: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from check_label_selector(term.get("labelSelector", {}), f"{path}.labelSelector")
    yield from check_label_selector(term.get("namespaceSelector", {}), f"{path}.namespaceSelector")
    yield from _check_topology_key(term.get("topologyKey", ""), f"{path}.topologyKey", "can not be empty")


def _check_topology_key(key: str, path: str, if_empty: str) -> Iterator[Cause]:
    if not key:
        yield required(path, if_empty)
        return
    for problem in check_qualified_name(key):
        yield invalid(path, key, problem)


def check_spread_constraints(constraints: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    """Broken rules of a pod's topology spread constraints."""
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        place, skew = f"{path}[{index}]", constraint.get("maxSkew", 0)
        key, action = constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            yield invalid(f"{place}.maxSkew", skew, "must be greater than zero")
        yield from _check_topology_key(key, f"{place}.topologyKey", "can not be empty")
        if action not in _SPREAD_ACTIONS:
            yield not_supported(f"{place}.whenUnsatisfiable", action, _SPREAD_ACTIONS)
        if (key, action) in seen:
            yield duplicate(f"{place}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        seen.add((key, action))
        if constraint.get("minDomains", 1) <= 0:
            yield invalid(f"{place}.minDomains", constraint["minDomains"], "must be greater than zero")
        yield from check_label_selector(constraint.get("labelSelector", {}), f"{place}.labelSelector")
