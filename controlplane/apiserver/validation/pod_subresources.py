"""What of a pod may change through its subresources ephemeralcontainers and resize.

Pure. Called with the whole pod before and after; that nothing else changes, the registry has seen to.
Follows the "Ephemeral Containers" and "Resize CPU and Memory Resources assigned to Containers" pages of the
Kubernetes documentation (KEP-277, KEP-1287).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.defaults.quality_of_service import compute_qos_class
from controlplane.apiserver.validation.causes import Cause, forbidden, invalid

_MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
_RESIZABLE: Final = frozenset({"cpu", "memory"})
_EPHEMERAL_PATH: Final = "spec.ephemeralContainers"


def check_ephemeral_containers_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Ephemeral containers are only ever added."""
    if _is_mirror(old):
        yield forbidden("", "static pods do not support ephemeral containers")
        return
    after = {container.get("name"): container for container in _list(new, "ephemeralContainers")}
    for before in _list(old, "ephemeralContainers"):
        name = before.get("name")
        if name not in after:
            yield forbidden(_EPHEMERAL_PATH, f'existing ephemeral containers "{name}" may not be removed')
        elif after[name] != before:
            yield forbidden(_EPHEMERAL_PATH, f'existing ephemeral containers "{name}" may not be changed')


def check_resize(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Only CPU and memory of containers and sidecars change, and they keep the pod's QoS class."""
    refusal = _find_refusal(old)
    if refusal:
        yield forbidden("", refusal)
        return
    before, after = old.get("status", {}).get("qosClass"), compute_qos_class(new.get("spec", {}))
    if (before or compute_qos_class(old.get("spec", {}))) != after:
        yield invalid("spec", after, "Pod QOS Class may not change as a result of resizing")
    if not _reports_resources(old):
        yield forbidden("spec", "Pod running on node without support for resize")
    yield from _check_init_containers(_list(new, "initContainers"), _list(old, "initContainers"))
    for index, (container, former) in enumerate(
        zip(_list(new, "containers"), _list(old, "containers"), strict=True)
    ):
        yield from _check_removals(container, former, f"spec.containers[{index}]")
        if not _changes_only_resizable(container, former):
            yield forbidden("spec", "only cpu and memory resources are mutable")


def _check_init_containers(
    new: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]
) -> Iterator[Cause]:
    for index, (container, former) in enumerate(zip(new, old, strict=True)):
        if former.get("restartPolicy") == "Always":
            yield from _check_removals(container, former, f"spec.initContainers[{index}]")
            if not _changes_only_resizable(container, former):
                yield forbidden("spec", "only cpu and memory resources for sidecar containers are mutable")
        elif container != former:
            yield forbidden("spec", "resources for non-sidecar init containers are immutable")


def _find_refusal(pod: Mapping[str, Any]) -> str:
    """Why a pod can't be resized at all."""
    spec = pod.get("spec", {})
    if _is_mirror(pod):
        return "static pods cannot be resized"
    if spec.get("os", {}).get("name") == "windows":
        return "windows pods cannot be resized"
    if any(spec.get("resources", {}).get(side) for side in ("requests", "limits")):
        return "pods with pod-level resources cannot be resized"
    return ""


def _reports_resources(pod: Mapping[str, Any]) -> bool:
    """A node agent that can resize says what its running containers have."""
    statuses = pod.get("status", {}).get("containerStatuses", ())
    running = [status for status in statuses if "running" in status.get("state", {})]
    return not running or "resources" in running[0]


def _check_removals(new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for side in ("requests", "limits"):
        if _amounts(old, side).keys() - _amounts(new, side).keys():
            yield forbidden(f"{path}.resources.{side}", f"resource {side} cannot be removed")


def _changes_only_resizable(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return _fixed_part(new) == _fixed_part(old)


def _fixed_part(container: Mapping[str, Any]) -> dict[str, Any]:
    resources = dict(container.get("resources", {}))
    for side in ("requests", "limits"):
        resources[side] = {
            name: amount for name, amount in _amounts(container, side).items() if name not in _RESIZABLE
        }
    return {**container, "resources": resources, "resizePolicy": None}


def _amounts(container: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    amounts: Mapping[str, Any] = container.get("resources", {}).get(side, {})
    return amounts


def _list(pod: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    containers: Sequence[Mapping[str, Any]] = pod.get("spec", {}).get(name, ())
    return containers


def _is_mirror(pod: Mapping[str, Any]) -> bool:
    return _MIRROR_ANNOTATION in pod.get("metadata", {}).get("annotations", {})
