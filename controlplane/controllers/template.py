"""Pod templates as documents: copied without loss, compared, hashed, made into pods.

Pure. A template is kept as the JSON it arrived as, so that fields no view knows reach the pods. Two
templates are the same when their canonical texts are: keys sorted, nulls dropped, the hash label left out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.controllers.claim import build_controller_reference
from controlplane.controllers.names import build_suffix
from kubeapi.meta import Object
from kubeapi.pod import PodTemplateSpec

TEMPLATE_HASH_LABEL: Final = "pod-template-hash"


def parse_template(template: msgspec.Raw) -> PodTemplateSpec:
    """The typed view, for reading only."""
    return msgspec.json.decode(template, type=PodTemplateSpec)


def parse_template_document(template: msgspec.Raw) -> dict[str, Any]:
    """The whole template as a plain document, without nulls; the caller may change it."""
    document: dict[str, Any] = _without_nulls(msgspec.json.decode(template))
    return document


def build_canonical_template(template: msgspec.Raw) -> bytes:
    """The text by which templates are compared: equal for equal templates, whatever their hash labels."""
    document = parse_template_document(template)
    labels = document.get("metadata", {}).get("labels", {})
    labels.pop(TEMPLATE_HASH_LABEL, None)
    return msgspec.json.encode(document, order="sorted")


def compute_template_hash(template: msgspec.Raw, collision_count: int) -> str:
    """The value of the hash label; another one for every collision."""
    return build_suffix(build_canonical_template(template).decode(), str(collision_count), length=10)


def add_template_hash(template: msgspec.Raw, template_hash: str) -> dict[str, Any]:
    """The template's document with the hash label on its pods."""
    document = parse_template_document(template)
    document.setdefault("metadata", {}).setdefault("labels", {})[TEMPLATE_HASH_LABEL] = template_hash
    return document


def build_pod_document(owner: Object, template: msgspec.Raw, name: str) -> dict[str, Any]:
    """The pod that `owner` makes from its template: the template's labels, annotations, finalizers and
    spec.
    """
    document = parse_template_document(template)
    written = document.get("metadata", {})
    kept = {field: written[field] for field in ("labels", "annotations", "finalizers") if written.get(field)}
    metadata = {
        "name": name,
        "generateName": f"{owner.metadata.name}-",
        "namespace": owner.metadata.namespace,
        **kept,
        "ownerReferences": [build_controller_reference(owner)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": document.get("spec", {})}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
