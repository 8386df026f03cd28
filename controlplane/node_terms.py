"""Node selector terms: does a node match what the node affinity of a pod or of a volume says?

Pure. Used by the scheduler's filters and scores and by the matching of volumes. Follows the "Node affinity"
section of the "Assigning Pods to Nodes" page and the NodeSelectorRequirement page of the API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kubeapi.core import Node
from kubeapi.pod import NodeSelectorRequirement, NodeSelectorTerm


def matches_any(terms: tuple[NodeSelectorTerm, ...], node: Node) -> bool:
    return any(matches_term(term, node) for term in terms)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    """All its requirements hold; a term without any matches nothing."""
    if not (term.match_expressions or term.match_fields):
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_matches(each, node.metadata.labels) for each in term.match_expressions) and all(
        _matches(each, fields) for each in term.match_fields
    )


def _matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    """An operator that we don't know matches nothing."""
    test = _OPERATORS.get(requirement.operator)
    return test is not None and test(labels.get(requirement.key), requirement.values)


def _is_greater(value: str | None, values: tuple[str, ...]) -> bool:
    return _compare(value, values) > 0


def _is_less(value: str | None, values: tuple[str, ...]) -> bool:
    return _compare(value, values) < 0


def _compare(value: str | None, values: tuple[str, ...]) -> int:
    """Sign of the difference; 0 too when either isn't a whole number."""
    try:
        number, bound = int(value or ""), int(values[0] if len(values) == 1 else "")
    except ValueError:
        return 0
    return (number > bound) - (number < bound)


_OPERATORS: Final[Mapping[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,  # noqa: ARG005
    "DoesNotExist": lambda value, values: value is None,  # noqa: ARG005
    "Gt": _is_greater,
    "Lt": _is_less,
}
