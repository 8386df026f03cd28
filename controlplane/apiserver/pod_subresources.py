"""What a write to pods/ephemeralcontainers or pods/resize takes over: that one part of the pod, nothing else.

Pure. Called by the registry before defaulting; whether the part may change so is `validation`'s to say.
Follows the "Ephemeral Containers" and "Resize CPU and Memory Resources assigned to Containers" pages of the
Kubernetes documentation (KEP-277, KEP-1287).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.documents import Document

RESIZED_FIELDS: Final = ("resources", "resizePolicy")
_RESIZED_LISTS: Final = ("initContainers", "containers")


def take_ephemeral_containers(new: Mapping[str, Any], old: Mapping[str, Any]) -> Document:
    """`old` with the ephemeral containers of `new`."""
    spec = dict(old.get("spec") or {})
    sent = (new.get("spec") or {}).get("ephemeralContainers")
    if sent:
        spec["ephemeralContainers"] = sent
    else:
        spec.pop("ephemeralContainers", None)
    return {**old, "metadata": _keep_metadata(old), "spec": spec}


def take_resize(new: Mapping[str, Any], old: Mapping[str, Any]) -> Document:
    """`old` with the resources and resize policies of the containers of `new`, matched by name."""
    spec, sent = dict(old.get("spec") or {}), new.get("spec") or {}
    for name in _RESIZED_LISTS:
        if spec.get(name):
            spec[name] = _resize_containers(spec[name], sent.get(name) or ())
    return {**old, "metadata": _keep_metadata(old), "spec": spec}


def _resize_containers(
    old: Sequence[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    by_name = {container.get("name"): container for container in sent}
    return [_resize_container(container, by_name.get(container.get("name"))) for container in old]


def _resize_container(old: Mapping[str, Any], sent: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if sent is None:
        return old
    kept = {name: value for name, value in old.items() if name not in RESIZED_FIELDS}
    return {**kept, **{name: sent[name] for name in RESIZED_FIELDS if name in sent}}


def _keep_metadata(old: Mapping[str, Any]) -> Document:
    """The stored metadata; what the client sent of it has been compared already."""
    metadata = dict(old["metadata"])
    metadata.pop("resourceVersion", None)
    return metadata
