"""Nothing in use goes: claims wait for their pods, volumes for their claims.

Pure. Called by `controlplane.controllers.volume_protection.observe`. The finalizers are set at creation by
the API server, and here on what came before; both are taken away here. Follows "Storage Object in Use
Protection" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Final

from controlplane.controllers.actions import AnyResource, MergePatch, Plan
from kubeapi.meta import Object
from kubeapi.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim

CLAIM_FINALIZER: Final = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER: Final = "kubernetes.io/pv-protection"


def plan_claim_protection(claim: PersistentVolumeClaim, *, is_used: bool) -> Plan:
    """`is_used`: a pod that has a node names the claim."""
    return _plan_finalizer(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_FINALIZER, is_used=is_used)


def plan_volume_protection(volume: PersistentVolume) -> Plan:
    """A bound volume is in use."""
    return _plan_finalizer(
        PERSISTENT_VOLUMES, volume, VOLUME_FINALIZER, is_used=volume.status.phase == "Bound"
    )


def _plan_finalizer(resource: AnyResource, object_: Object, finalizer: str, *, is_used: bool) -> Plan:
    meta = object_.metadata
    is_going, is_protected = meta.deletion_timestamp is not None, finalizer in meta.finalizers
    if is_going and is_protected and not is_used:
        finalizers = [each for each in meta.finalizers if each != finalizer]
    elif not is_going and not is_protected:
        finalizers = [*meta.finalizers, finalizer]
    else:
        return Plan()
    body = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
    return Plan((MergePatch(resource, object_.key, body),))
