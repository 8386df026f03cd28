"""Validation of resource requests and limits.

Pure. Called for containers and for a pod as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, invalid, required
from controlplane.apiserver.validation.names import check_qualified_name
from kubeapi.quantity import parse_quantity

_STANDARD: Final = ("cpu", "memory", "ephemeral-storage")
NOT_NEGATIVE: Final = "must be greater than or equal to 0"


def check_resources(resources: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a container's resources."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for name, text in limits.items():
        yield from _check_amount(name, text, f"{path}.limits")
    for name, text in requests.items():
        yield from _check_amount(name, text, f"{path}.requests")
    for name, text in requests.items():
        if name in limits:
            yield from _check_against_limit(name, text, limits[name], f"{path}.requests")
        elif not _may_overcommit(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")


def _check_amount(name: str, text: str, path: str) -> Iterator[Cause]:
    for problem in check_qualified_name(name):
        yield invalid(f"{path}[{name}]" if name else path, name, problem)
    if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        yield invalid(f"{path}[{name}]" if name else path, name, "must be a standard resource for containers")
    amount = parse_quantity(text)
    if amount.nanos < 0:
        yield invalid(f"{path}[{name}]", text, NOT_NEGATIVE)
    if not _is_fractional(name) and amount.millis() % 1000 != 0:
        yield invalid(f"{path}[{name}]", text, "must be an integer")


def _check_against_limit(name: str, request: str, limit: str, path: str) -> Iterator[Cause]:
    wanted, allowed = parse_quantity(request), parse_quantity(limit)
    if not _may_overcommit(name):
        if wanted != allowed:
            yield invalid(path, request, f"must be equal to {name} limit of {limit}")
    elif wanted.nanos > allowed.nanos:
        yield invalid(path, request, f"must be less than or equal to {name} limit of {limit}")


def _may_overcommit(name: str) -> bool:
    """Only the node's own resources, which are named without a domain, may be promised twice."""
    is_native = "/" not in name or name.partition("/")[0].endswith("kubernetes.io")
    return is_native and not name.startswith("hugepages-")


def _is_fractional(name: str) -> bool:
    return name in _STANDARD or _may_overcommit(name)
