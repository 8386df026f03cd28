"""The scale subresource: the number of replicas behind a small document that is the same for every kind.

Pure. Called by the HTTP layer for deployments and replica sets. Follows the Scale page (autoscaling/v1) of
the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import invalid
from controlplane.apiserver.kinds import Kind
from kubeapi.meta import LabelSelector, LabelSelectorRequirement
from kubeapi.selectors import build_label_selector
from kubeapi.status import StatusCause

_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def build_scale(document: Mapping[str, Any]) -> Document:
    """The Scale of an object that has spec.replicas, status.replicas and spec.selector."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _METADATA if field in metadata},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {"replicas": status.get("replicas", 0), "selector": _render_selector(spec)},
    }


def apply_scale(kind: Kind, document: Mapping[str, Any], scale: Mapping[str, Any]) -> Document:
    """The object with the replicas, and the version to compare, of a Scale."""
    sent = scale.get("metadata") or {}
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        cause = StatusCause(
            reason="FieldValueInvalid",
            field="spec.replicas",
            message=f"Invalid value: {replicas}: must be greater than or equal to 0",
        )
        raise invalid(kind, document["metadata"]["name"], (cause,))
    metadata = {**document["metadata"], **{k: sent[k] for k in ("resourceVersion", "uid") if sent.get(k)}}
    return {**document, "metadata": metadata, "spec": {**(document.get("spec") or {}), "replicas": replicas}}


def _render_selector(spec: Mapping[str, Any]) -> str:
    selector = spec.get("selector") or {}
    expressions = tuple(
        LabelSelectorRequirement(
            key=each["key"], operator=each["operator"], values=tuple(each.get("values") or ())
        )
        for each in selector.get("matchExpressions") or ()
    )
    labels = selector.get("matchLabels") or {}
    return str(build_label_selector(LabelSelector(match_labels=labels, match_expressions=expressions)))
