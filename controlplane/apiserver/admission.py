"""What the cluster adds to a new object on its own account, after the user and the defaults have spoken.

Pure. Called by the registry on creation. Only what needs no policy objects is here: a pod's service
account. Mirror pods are the kubelet's account of a static pod and are left as they are.
"""

from __future__ import annotations

from controlplane.apiserver.documents import Document
from controlplane.apiserver.kinds import POD, Kind

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


def admit_creation(kind: Kind, document: Document) -> Document:
    """The document with what the cluster adds."""
    if kind != POD:
        return document
    annotations = document["metadata"].get("annotations") or {}
    spec = document.get("spec") or {}
    if MIRROR_ANNOTATION in annotations or spec.get("serviceAccountName"):
        return document
    return {**document, "spec": {**spec, "serviceAccountName": "default", "serviceAccount": "default"}}
