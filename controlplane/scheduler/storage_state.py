"""Claims, volumes and storage classes as the scheduler knows them.

No IO. Fed by the scheduler's informers; read by the volume filter. Bindings are the volume binder's: the
scheduler only keeps pods off nodes where their claims can't be bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.volume_matching import get_class_name
from kubeapi.meta import ObjectKey
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim, StorageClass


@dataclass(frozen=True, slots=True)
class StorageState:
    """Live views of what exists, by key."""

    claims: Mapping[ObjectKey, PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[ObjectKey, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[ObjectKey, StorageClass] = field(default_factory=dict)

    def get_volume(self, name: str) -> PersistentVolume | None:
        return self.volumes.get(ObjectKey("", name))

    def get_class(self, claim: PersistentVolumeClaim) -> StorageClass | None:
        return self.classes.get(ObjectKey("", get_class_name(claim)))
