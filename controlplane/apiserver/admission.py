"""What the cluster adds to a new object on its own account, and what it lets nobody delete.

Pure. Called by the registry. Only what needs no policy objects is here: a pod's service account (mirror
pods are the kubelet's account of a static pod and are left as they are), and the namespaces that every
cluster has. Follows "Admission Control" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import forbidden
from controlplane.apiserver.kinds import NAMESPACE, POD, Kind

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
IMMORTAL_NAMESPACES: Final = frozenset({"default", "kube-system", "kube-public"})


def admit_creation(kind: Kind, document: Document) -> Document:
    """The document with what the cluster adds."""
    if kind != POD:
        return document
    annotations = document["metadata"].get("annotations") or {}
    spec = document.get("spec") or {}
    if MIRROR_ANNOTATION in annotations or spec.get("serviceAccountName"):
        return document
    return {**document, "spec": {**spec, "serviceAccountName": "default", "serviceAccount": "default"}}


def admit_deletion(kind: Kind, name: str) -> None:
    """ApiFailure 403 for what may not be deleted."""
    if kind == NAMESPACE and name in IMMORTAL_NAMESPACES:
        raise forbidden(kind, name, "this namespace may not be deleted")
