"""A pod runs as a service account, `default` unless it names one.

Pure. Mirror pods are the kubelet's account of a static pod and are left as they are. Follows "Configure
Service Accounts for Pods" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Final

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.documents import Document

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
DEFAULT_ACCOUNT: Final = "default"


def admit_service_account(pod: Document, objects: PolicyObjects) -> Document:  # noqa: ARG001
    """The pod with its service account's name."""
    annotations = pod["metadata"].get("annotations") or {}
    spec = pod.get("spec") or {}
    if MIRROR_ANNOTATION in annotations or spec.get("serviceAccountName"):
        return pod
    return {**pod, "spec": {**spec, "serviceAccountName": DEFAULT_ACCOUNT, "serviceAccount": DEFAULT_ACCOUNT}}
