"""What the cluster adds to a new object on its own account, what it refuses, and what it lets nobody delete.

No IO: policy objects are read from memory through `PolicyObjects`. Called by the registry between defaulting
and validation. One module for each concern; their order is written down here and follows upstream's (service
account, priority, default storage class, protection of volumes in use, runtime class). Quotas and limits,
webhooks and policies have their places between and after them. Follows "Admission Control" in the
Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.admission.priority import admit_priority, admit_priority_class, keep_priority
from controlplane.apiserver.admission.runtime_class import admit_runtime_class
from controlplane.apiserver.admission.service_account import admit_service_account
from controlplane.apiserver.admission.volume_protection import admit_claim, protect_claim, protect_volume
from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import forbidden
from controlplane.apiserver.kinds import (
    NAMESPACE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    PRIORITY_CLASS,
    Kind,
)

__all__ = ["PolicyObjects", "admit_creation", "admit_deletion", "admit_update"]

Admit = Callable[[Document, PolicyObjects], Document]

_CREATIONS: Final[Mapping[str, tuple[Admit, ...]]] = {
    POD.plural: (admit_service_account, admit_priority, admit_runtime_class),
    PRIORITY_CLASS.plural: (admit_priority_class,),
    PERSISTENT_VOLUME_CLAIM.plural: (admit_claim, protect_claim),
    PERSISTENT_VOLUME.plural: (protect_volume,),
}
IMMORTAL_NAMESPACES: Final = frozenset({"default", "kube-system", "kube-public"})


def admit_creation(kind: Kind, document: Document, objects: PolicyObjects) -> Document:
    """The document with what the cluster adds; ApiFailure 403."""
    for admit in _CREATIONS.get(kind.plural, ()):
        document = admit(document, objects)
    return document


def admit_update(kind: Kind, new: Document, old: Mapping[str, Any]) -> Document:
    """The changed document with what the cluster once added and the client left out."""
    return keep_priority(new, old) if kind == POD else new


def admit_deletion(kind: Kind, name: str) -> None:
    """ApiFailure 403 for what may not be deleted."""
    if kind == NAMESPACE and name in IMMORTAL_NAMESPACES:
        raise forbidden(kind, name, "this namespace may not be deleted")
