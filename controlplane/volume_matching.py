"""Which persistent volume a claim may be bound to, and where a volume can be used.

Pure. Shared by the volume binder, which binds, and the scheduler, which has to know beforehand where
binding will succeed. Follows the "Persistent Volumes" page of the Kubernetes documentation ("Binding",
"Reserving a PersistentVolume", "Node Affinity").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controlplane.node_terms import matches_any
from kubeapi.core import Node
from kubeapi.meta import Object, ObjectKey
from kubeapi.pod import Pod
from kubeapi.quantity import parse_quantity
from kubeapi.selectors import build_label_selector
from kubeapi.storage import STORAGE, PersistentVolume, PersistentVolumeClaim, StorageClass

WAIT_FOR_FIRST_CONSUMER: Final = "WaitForFirstConsumer"
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


def get_class_name(claim: PersistentVolumeClaim) -> str:
    """The claim's class; empty for volumes without one."""
    return claim.metadata.annotations.get(_CLASS_ANNOTATION) or claim.spec.storage_class_name or ""


def waits_for_consumer(storage_class: StorageClass | None) -> bool:
    """Claims of the class are bound where a pod needs them; a class that doesn't exist binds at once."""
    return storage_class is not None and storage_class.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return bool(claim.spec.volume_name) and claim.status.phase == "Bound"


def is_reserved_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """The volume names this claim, by user or binder; without a UID, whichever claim has the name."""
    reference = volume.spec.claim_ref
    return (
        reference is not None
        and (reference.namespace, reference.name) == (claim.metadata.namespace, claim.metadata.name)
        and reference.uid in ("", claim.metadata.uid)
    )


def is_usable_on(volume: PersistentVolume, node: Node) -> bool:
    """Whether the volume's node affinity lets it be used there."""
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return True
    return matches_any(affinity.required.node_selector_terms, node)


def choose_volume(
    claim: PersistentVolumeClaim,
    volumes: Iterable[PersistentVolume],
    *,
    node: Node | None = None,
    reserved_only: bool = False,
) -> PersistentVolume | None:
    """The volume reserved for the claim, or the smallest available one that satisfies it.

    `node`: it must be usable there. `reserved_only`: nobody knows yet where it will be used.
    """
    fitting = [
        each for each in volumes if _satisfies(each, claim) and (node is None or is_usable_on(each, node))
    ]
    reserved = [each for each in fitting if is_reserved_for(each, claim)]
    if reserved or reserved_only:
        return min(reserved, key=_order, default=None)
    free = (each for each in fitting if _is_free(each) and _is_of_choice(each, claim))
    return min(free, key=_order, default=None)


def _satisfies(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """What even a reserved volume must offer."""
    return (
        not _is_going(volume)
        and volume.spec.volume_mode == claim.spec.volume_mode
        and set(claim.spec.access_modes) <= set(volume.spec.access_modes)
        and _capacity(volume) >= parse_quantity(claim.spec.resources.requests.get(STORAGE, 0)).nanos
    )


def _is_free(volume: PersistentVolume) -> bool:
    return volume.spec.claim_ref is None and volume.status.phase == "Available"


def _is_of_choice(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Of the claim's class, with the labels that it selects."""
    if volume.spec.storage_class_name != get_class_name(claim):
        return False
    selector = claim.spec.selector
    return selector is None or build_label_selector(selector).matches(volume.metadata.labels)


def _is_going(each: Object) -> bool:
    return each.metadata.deletion_timestamp is not None


def _capacity(volume: PersistentVolume) -> int:
    return parse_quantity(volume.spec.capacity.get(STORAGE, 0)).nanos


def _order(volume: PersistentVolume) -> tuple[int, str]:
    return _capacity(volume), volume.metadata.name


def list_claim_keys(pod: Pod) -> tuple[ObjectKey, ...]:
    """The claims that a pod's volumes name."""
    sources = (volume.persistent_volume_claim for volume in pod.spec.volumes)
    return tuple(ObjectKey(pod.metadata.namespace, each.claim_name) for each in sources if each is not None)
