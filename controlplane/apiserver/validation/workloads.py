"""Validation of Deployments, ReplicaSets and the scale subresource.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    forbidden,
    invalid,
    not_supported,
    required,
)
from controlplane.apiserver.validation.label_selectors import check_label_selector, selects
from controlplane.apiserver.validation.metadata import IMMUTABLE
from controlplane.apiserver.validation.pods import check_pod_template
from controlplane.apiserver.validation.resources import NOT_NEGATIVE

_STRATEGIES: Final = ("Recreate", "RollingUpdate")
_PERCENTAGE: Final = re.compile("[0-9]+%")
_SHARE_RULE: Final = "must be an integer or percentage (e.g '5%')"


def check_deployment(deployment: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Deployment's spec."""
    spec = deployment.get("spec", {})
    yield from _check_selection(spec)
    yield from _check_counts(
        spec, ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    )
    yield from _check_strategy(spec.get("strategy", {}))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and 0 <= deadline <= spec.get("minReadySeconds", 0):
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def check_replica_set(replica_set: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a ReplicaSet's spec."""
    spec = replica_set.get("spec", {})
    yield from _check_selection(spec)
    yield from _check_counts(spec, ("replicas", "minReadySeconds"))


def check_scale(scale: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Scale."""
    yield from _check_counts(scale.get("spec", {}), ("replicas",))


def check_selector_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """A workload's selector stays what it is."""
    after, before = new.get("spec", {}).get("selector"), old.get("spec", {}).get("selector")
    if after != before:
        yield invalid("spec.selector", after, IMMUTABLE)


def _check_counts(spec: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Cause]:
    for name in names:
        if spec.get(name, 0) < 0:
            yield invalid(f"spec.{name}", spec[name], NOT_NEGATIVE)


def _check_selection(spec: Mapping[str, Any]) -> Iterator[Cause]:
    """The selector, the template, and whether the one selects the other."""
    template = spec.get("template", {})
    selector = spec.get("selector")
    problems: list[Cause] = []
    if selector is None:
        yield required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, "empty selector is invalid for deployment")
    else:
        problems.extend(check_label_selector(selector, "spec.selector"))
        yield from problems
        labels = template.get("metadata", {}).get("labels", {})
        if not problems and not selects(selector, labels):
            yield invalid(
                "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
    yield from check_pod_template(template, "spec.template")
    yield from _check_long_running(template.get("spec", {}))


def _check_long_running(spec: Mapping[str, Any]) -> Iterator[Cause]:
    """What a workload keeps running may neither end by itself nor be ended by the clock."""
    if spec.get("restartPolicy", "Always") != "Always":
        yield not_supported("spec.template.spec.restartPolicy", spec["restartPolicy"], ("Always",))
    if "activeDeadlineSeconds" in spec:
        yield forbidden(
            "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
        )


def _check_strategy(strategy: Mapping[str, Any]) -> Iterator[Cause]:
    kind = strategy.get("type", "RollingUpdate")
    if kind not in _STRATEGIES:
        yield not_supported("spec.strategy.type", kind, _STRATEGIES)
    if kind == "Recreate" and "rollingUpdate" in strategy:
        yield forbidden(
            "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
        )
    elif kind == "RollingUpdate":
        yield from _check_rolling(strategy.get("rollingUpdate", {}), "spec.strategy.rollingUpdate")


def _check_rolling(rolling: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name in ("maxUnavailable", "maxSurge"):
        value = rolling.get(name, 0)
        if isinstance(value, int) and value < 0:
            yield invalid(f"{path}.{name}", value, NOT_NEGATIVE)
        elif isinstance(value, str) and not _PERCENTAGE.fullmatch(value):
            yield invalid(f"{path}.{name}", value, _SHARE_RULE)
        elif name == "maxUnavailable" and isinstance(value, str) and _number(value) > 100:
            yield invalid(f"{path}.{name}", value, "must not be greater than 100%")
    if all(name in rolling and _number(rolling[name]) == 0 for name in ("maxUnavailable", "maxSurge")):
        yield invalid(
            f"{path}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"
        )


def _number(share: int | str) -> int:
    """The number in front of the percent sign; a malformed share, which has its own cause, counts as one."""
    if isinstance(share, int):
        return share
    digits = share.removesuffix("%").lstrip("0")[:10]
    return int(digits or "0") if _PERCENTAGE.fullmatch(share) else 1
