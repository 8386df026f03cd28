"""Filter: the volumes of the pod's claims can be used on the node, or can be found for it there.

Pure. Prepared by `controlplane.scheduler.choose`. A bound claim ties the pod to where its volume is; a claim
that waits for its first consumer needs a free volume on the node, beside those that the node's other waiting
claims will get; any other claim must be bound first. Follows the "Persistent Volumes" page ("Node Affinity")
and the "Volume Binding Mode" section of the "Storage Classes" page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from controlplane.scheduler.node_state import NodeState
from controlplane.scheduler.pod_facts import PodFacts
from controlplane.scheduler.rule import NodeCheck
from controlplane.scheduler.storage_state import StorageState
from controlplane.volume_matching import choose_volume, is_usable_on, list_claim_keys, waits_for_consumer
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim

_CONFLICT: Final = ("node(s) had volume node affinity conflict",)
_NO_VOLUME: Final = ("node(s) didn't find available persistent volumes to bind",)
_UNBOUND: Final = ("pod has unbound immediate PersistentVolumeClaims",)


def prepare(pod: PodFacts, storage: StorageState) -> NodeCheck | None:
    """Unlike other filters it looks at more than pod and node."""
    keys = list_claim_keys(pod.pod)
    if not keys:
        return None
    claims: list[PersistentVolumeClaim] = []
    for key in keys:
        claim = storage.claims.get(key)
        if claim is None:
            return _refuse_everywhere(f'persistentvolumeclaim "{key.name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            return _refuse_everywhere(f'persistentvolumeclaim "{key.name}" is being deleted')
        claims.append(claim)
    waiting = [claim for claim in claims if _is_waiting(claim, storage)]
    bound = [claim for claim in claims if claim.spec.volume_name]
    if len(waiting) + len(bound) < len(claims):
        return _refuse_everywhere(*_UNBOUND)
    volumes = [storage.get_volume(claim.spec.volume_name) for claim in bound]
    places = [volume for volume in volumes if volume is not None]

    def check(node: NodeState) -> tuple[str, ...]:
        if not all(is_usable_on(volume, node.node) for volume in places):
            return _CONFLICT
        return () if not waiting or _find_volumes(waiting, node, storage) else _NO_VOLUME

    return check


def _is_waiting(claim: PersistentVolumeClaim, storage: StorageState) -> bool:
    return not claim.spec.volume_name and waits_for_consumer(storage.get_class(claim))


def _find_volumes(claims: Sequence[PersistentVolumeClaim], node: NodeState, storage: StorageState) -> bool:
    """Whether each claim gets a volume of its own, after those that other pods' claims will get."""
    promised = {claim.key: claim for claim in _list_promised(node, storage)}
    wanted = {**promised, **{claim.key: claim for claim in claims}}
    free: dict[str, PersistentVolume] = {each.metadata.name: each for each in storage.volumes.values()}
    for key, claim in wanted.items():
        found = choose_volume(claim, free.values(), node=node.node)
        if found is not None:
            del free[found.metadata.name]
        elif key not in promised:
            return False
    return True


def _list_promised(node: NodeState, storage: StorageState) -> Iterable[PersistentVolumeClaim]:
    """The claims of pods that have been placed here and whose binding nobody has seen yet."""
    for pod in node.pods.values():
        for key in list_claim_keys(pod.pod):
            claim = storage.claims.get(key)
            if claim is not None and _is_waiting(claim, storage):
                yield claim


def _refuse_everywhere(*reasons: str) -> NodeCheck:
    return lambda _: reasons
