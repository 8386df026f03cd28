"""Persistent volumes, their claims and storage classes (core/v1, storage.k8s.io/v1) as frozen views.

Pure. Read by the agent (what a claim of a pod is bound to), the scheduler (where a bound volume can be) and
the volume binder. A source this project doesn't know leaves all source fields None. Follows the
PersistentVolume, PersistentVolumeClaim and StorageClass pages of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kubeapi.core import ObjectReference
from kubeapi.meta import LabelSelector, Object, QuantityText, View
from kubeapi.pod import NodeSelector
from kubeapi.volume import HostPathVolumeSource

STORAGE: Final = "storage"
"""The name of the one resource that volumes offer and claims ask for."""

NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
DEFAULT_CLASS_ANNOTATION: Final = "storageclass.kubernetes.io/is-default-class"


class LocalVolumeSource(View, frozen=True, kw_only=True):
    path: str = ""
    fs_type: str | None = None


class VolumeNodeAffinity(View, frozen=True, kw_only=True):
    required: NodeSelector | None = None


class PersistentVolumeSpec(View, frozen=True, kw_only=True):
    capacity: Mapping[str, QuantityText] = {}
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    mount_options: tuple[str, ...] = ()
    volume_mode: str = "Filesystem"
    node_affinity: VolumeNodeAffinity | None = None
    host_path: HostPathVolumeSource | None = None
    local: LocalVolumeSource | None = None
    csi: Mapping[str, object] | None = None
    nfs: Mapping[str, object] | None = None


class PersistentVolumeStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    message: str = ""
    reason: str = ""


class PersistentVolume(Object, frozen=True, kw_only=True):
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class VolumeResourceRequirements(View, frozen=True, kw_only=True):
    requests: Mapping[str, QuantityText] = {}
    limits: Mapping[str, QuantityText] = {}


class PersistentVolumeClaimSpec(View, frozen=True, kw_only=True):
    """`storage_class_name` None asks for the default class, an empty one for volumes without a class."""

    access_modes: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    resources: VolumeResourceRequirements = VolumeResourceRequirements()
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str = "Filesystem"


class PersistentVolumeClaimStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: Mapping[str, QuantityText] = {}


class PersistentVolumeClaim(Object, frozen=True, kw_only=True):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class StorageClass(Object, frozen=True, kw_only=True):
    provisioner: str = ""
    parameters: Mapping[str, str] = {}
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"
    allow_volume_expansion: bool = False
