"""Defaults of the workload kinds and of their pod templates.

Pure; changes the documents it is given, which the caller has just made.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.defaults.pods import default_pod_spec
from controlplane.apiserver.openapi.schema import Document

_REVISION_HISTORY_LIMIT: Final = 10
_PROGRESS_DEADLINE_SECONDS: Final = 600
_QUARTER: Final = "25%"


def default_deployment(deployment: Document) -> None:
    """Defaults of a Deployment: one replica, rolled by quarters."""
    spec = deployment.setdefault("spec", {})
    _default_template(spec)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", _REVISION_HISTORY_LIMIT)
    spec.setdefault("progressDeadlineSeconds", _PROGRESS_DEADLINE_SECONDS)
    strategy = spec.setdefault("strategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", _QUARTER)
        rolling.setdefault("maxSurge", _QUARTER)
    deployment.setdefault("status", {})


def default_replica_set(replica_set: Document) -> None:
    """Defaults of a ReplicaSet: one replica."""
    spec = replica_set.setdefault("spec", {})
    _default_template(spec)
    spec.setdefault("replicas", 1)
    replica_set.setdefault("status", {}).setdefault("replicas", 0)


def _default_template(spec: Document) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))
