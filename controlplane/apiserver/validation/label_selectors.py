"""Validation of label selectors, and whether one selects a set of labels.

Pure. Called for workloads, affinities and spread constraints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid, not_supported, required
from controlplane.apiserver.validation.metadata import check_labels
from controlplane.apiserver.validation.names import check_label_value, check_qualified_name

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


def check_label_selector(selector: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a label selector."""
    yield from check_labels(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions", ())):
        yield from _check_expression(expression, f"{path}.matchExpressions[{index}]")


def _check_expression(expression: Mapping[str, Any], path: str) -> Iterator[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values", ())
    if operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(
            f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        )
    elif operator not in _OPERATORS:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    for problem in check_qualified_name(expression.get("key", "")):
        yield invalid(f"{path}.key", expression.get("key", ""), problem)
    for index, value in enumerate(values):
        for problem in check_label_value(value):
            yield invalid(f"{path}.values[{index}]", value, problem)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a valid selector matches the labels; an empty one matches all."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _expression_holds(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values", ())
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def check_node_selector_term(term: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of one term of a node selector."""
    for index, expression in enumerate(term.get("matchExpressions", ())):
        yield from _check_node_expression(expression, f"{path}.matchExpressions[{index}]")
    for index, expression in enumerate(term.get("matchFields", ())):
        place = f"{path}.matchFields[{index}]"
        if expression.get("key") != "metadata.name":
            yield invalid(f"{place}.key", expression.get("key", ""), "not a valid field selector key")
        if expression.get("operator") not in ("In", "NotIn"):
            yield invalid(
                f"{place}.operator", expression.get("operator", ""), "not a valid selector operator"
            )
        elif len(expression.get("values", ())) != 1:
            yield required(
                f"{place}.values",
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            )


def _check_node_expression(expression: Mapping[str, Any], path: str) -> Iterator[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values", ())
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                yield forbidden(
                    f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        case "Gt" | "Lt":
            if len(values) != 1:
                yield required(
                    f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                )
        case _:
            yield not_supported(f"{path}.operator", operator, (*_OPERATORS, "Gt", "Lt"))
    for problem in check_qualified_name(expression.get("key", "")):
        yield invalid(f"{path}.key", expression.get("key", ""), problem)
