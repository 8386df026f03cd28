"""Validation of persistent volumes, claims and storage classes.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    forbidden,
    invalid,
    not_supported,
    required,
)
from controlplane.apiserver.validation.label_selectors import (
    check_label_selector,
    check_node_selector_term,
)
from controlplane.apiserver.validation.metadata import IMMUTABLE
from controlplane.apiserver.validation.names import check_qualified_name, check_subdomain
from controlplane.apiserver.validation.volumes import check_backsteps, check_host_path
from kubeapi.quantity import parse_quantity

_ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_EXCLUSIVE_MODE: Final = "ReadWriteOncePod"
_VOLUME_MODES: Final = ("Block", "Filesystem")
_RECLAIM_POLICIES: Final = ("Delete", "Recycle", "Retain")
_CLASS_RECLAIM_POLICIES: Final = ("Delete", "Retain")
_BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
_POSITIVE: Final = "must be greater than zero"
_SOURCES: Final = (
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
)
_CLAIM_REFUSAL: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName "
    "for bound claims"
)


def check_persistent_volume(volume: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a PersistentVolume."""
    spec = volume.get("spec", {})
    yield from _check_access_modes(spec.get("accessModes", ()))
    yield from _check_capacity(spec.get("capacity", {}))
    yield from _check_node_affinity(spec)
    yield from _check_source(spec)
    yield from _check_choice(spec, "persistentVolumeReclaimPolicy", _RECLAIM_POLICIES)
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle" and _host_path(spec) == "/":
        yield forbidden(
            "spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"
        )
    yield from _check_class_name(spec)
    yield from _check_choice(spec, "volumeMode", _VOLUME_MODES)


def check_persistent_volume_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """A volume stays where and what it is."""
    after, before = new.get("spec", {}), old.get("spec", {})
    if _sources(after) != _sources(before):
        yield forbidden(
            "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
        )
    if after.get("volumeMode") != before.get("volumeMode"):
        yield invalid("spec.volumeMode", after.get("volumeMode"), IMMUTABLE)
    if "nodeAffinity" in before and after.get("nodeAffinity") != before["nodeAffinity"]:
        yield invalid("spec.nodeAffinity", after.get("nodeAffinity"), IMMUTABLE)


def check_claim(claim: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a PersistentVolumeClaim."""
    spec = claim.get("spec", {})
    yield from _check_access_modes(spec.get("accessModes", ()))
    if "selector" in spec:
        yield from check_label_selector(spec["selector"], "spec.selector")
    wanted = spec.get("resources", {}).get("requests", {}).get("storage")
    if wanted is None:
        yield required("spec.resources[storage]")
    elif parse_quantity(wanted).nanos <= 0:
        yield invalid("spec.resources[storage]", wanted, _POSITIVE)
    yield from _check_class_name(spec)
    yield from _check_choice(spec, "volumeMode", _VOLUME_MODES)


def check_claim_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Only the binder's choice, a default class, and a bound claim's growth may come later."""
    after, before = new.get("spec", {}), old.get("spec", {})
    if _fixed_part(after, before) != _fixed_part(before, before):
        yield forbidden("spec", _CLAIM_REFUSAL)
        return
    wanted, asked = (_storage_request(spec) for spec in (after, before))
    if wanted == asked:
        return
    status = old.get("status", {})
    if status.get("phase") != "Bound":
        yield forbidden("spec", _CLAIM_REFUSAL)
    elif wanted < max(asked, _nanos(status.get("capacity", {}).get("storage", "0"))):
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def check_storage_class(storage_class: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a StorageClass."""
    provisioner = storage_class.get("provisioner", "")
    if not provisioner:
        yield required("provisioner")
    for problem in check_qualified_name(provisioner.lower()) if provisioner else ():
        yield invalid("provisioner", provisioner, problem)
    if any(not name for name in storage_class.get("parameters", {})):
        yield invalid("parameters", "", "field can not be empty.")
    for name, known in (("reclaimPolicy", _CLASS_RECLAIM_POLICIES), ("volumeBindingMode", _BINDING_MODES)):
        if storage_class.get(name, known[0]) not in known:
            yield not_supported(name, storage_class[name], known)


def check_storage_class_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """A class means the same for all of its volumes."""
    for name in ("parameters", "provisioner"):
        if new.get(name) != old.get(name):
            yield forbidden(name, f"updates to {name} are forbidden.")
    for name in ("reclaimPolicy", "volumeBindingMode"):
        if new.get(name) != old.get(name):
            yield invalid(name, new.get(name), IMMUTABLE)


def _check_access_modes(modes: Sequence[str]) -> Iterator[Cause]:
    if not modes:
        yield required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in _ACCESS_MODES:
            yield not_supported("spec.accessModes", mode, _ACCESS_MODES)
    if _EXCLUSIVE_MODE in modes and len(set(modes)) > 1:
        yield forbidden("spec.accessModes", f"may not use {_EXCLUSIVE_MODE} with other access modes")


def _check_capacity(capacity: Mapping[str, Any]) -> Iterator[Cause]:
    if not capacity:
        yield required("spec.capacity")
    elif "storage" not in capacity or len(capacity) > 1:
        yield not_supported("spec.capacity", sorted(capacity), ("storage",))
    for name, amount in capacity.items():
        if parse_quantity(amount).nanos <= 0:
            yield invalid(f"spec.capacity[{name}]", amount, _POSITIVE)


def _check_source(spec: Mapping[str, Any]) -> Iterator[Cause]:
    sources = _sources(spec)
    if not sources:
        yield required("spec", "must specify a volume type")
    for extra in list(sources)[1:]:
        yield forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
    if "hostPath" in sources:
        yield from check_host_path(sources["hostPath"], "spec.hostPath")
    if "local" in sources:
        path = sources["local"].get("path", "")
        if not path:
            yield required("spec.local.path")
        yield from check_backsteps(path, "spec.local.path")
        if not spec.get("nodeAffinity", {}).get("required"):
            yield required("spec.nodeAffinity", "Local volume requires node affinity")


def _check_node_affinity(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if "nodeAffinity" not in spec:
        return
    needed = spec["nodeAffinity"].get("required")
    if needed is None:
        yield required("spec.nodeAffinity.required", "must specify required node constraints")
        return
    path, terms = "spec.nodeAffinity.required.nodeSelectorTerms", needed.get("nodeSelectorTerms", ())
    if not terms:
        yield required(path, "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from check_node_selector_term(term, f"{path}[{index}]")


def _check_choice(spec: Mapping[str, Any], name: str, supported: tuple[str, ...]) -> Iterator[Cause]:
    if name in spec and spec[name] not in supported:
        yield not_supported(f"spec.{name}", spec[name], supported)


def _check_class_name(spec: Mapping[str, Any]) -> Iterator[Cause]:
    name = spec.get("storageClassName")
    for problem in check_subdomain(name) if name else ():
        yield invalid("spec.storageClassName", name, problem)


def _sources(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: spec[name] for name in _SOURCES if name in spec}


def _host_path(spec: Mapping[str, Any]) -> str:
    return str(spec.get("hostPath", {}).get("path", ""))


def _fixed_part(spec: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What no write may change: what was left open may be decided once."""
    fixed = {name: value for name, value in spec.items() if name != "resources"}
    fixed["limits"] = spec.get("resources", {}).get("limits")
    for name in ("volumeName", "storageClassName"):
        if not before.get(name) and (name == "volumeName" or name not in before):
            fixed.pop(name, None)
    return fixed


def _storage_request(spec: Mapping[str, Any]) -> int:
    return _nanos(spec.get("resources", {}).get("requests", {}).get("storage", "0"))


def _nanos(text: str) -> int:
    return parse_quantity(text).nanos
