"""A pod's quality-of-service class.

Pure. Called by defaulting for a new pod's status. Follows the "Pod Quality of Service Classes" concept page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubeapi.quantity import parse_quantity

_COUNTED: Final = ("cpu", "memory")


def compute_qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, from the resources of all containers or of the pod."""
    if _amounts(spec, "requests") or _amounts(spec, "limits"):
        demands = [spec]
    else:
        demands = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    requests = [_amounts(demand, "requests") for demand in demands]
    limits = [_amounts(demand, "limits") for demand in demands]
    if not any(requests) and not any(limits):
        return "BestEffort"
    if all(limit.keys() == set(_COUNTED) for limit in limits) and all(
        _covers(request, limit) for request, limit in zip(requests, limits, strict=True)
    ):
        return "Guaranteed"
    return "Burstable"


def _amounts(demand: Mapping[str, Any], side: str) -> dict[str, Any]:
    """The positive amounts of CPU and memory."""
    given = demand.get("resources", {}).get(side, {})
    amounts = {name: parse_quantity(given[name]) for name in _COUNTED if name in given}
    return {name: amount for name, amount in amounts.items() if amount.nanos > 0}


def _covers(request: Mapping[str, Any], limit: Mapping[str, Any]) -> bool:
    return all(request.get(name, amount) == amount for name, amount in limit.items())
