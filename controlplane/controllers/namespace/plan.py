"""Namespace deletion: what runs goes first, then everything else, then the namespace itself.

Pure. Called by `controlplane.controllers.namespace.observe`, which lists what is left. Follows the
"Finalizers" page of the Kubernetes documentation; pods go before other content, so that what protects them
outlives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.controllers.actions import Action, Delete, FinalizeNamespace, Plan
from kubeapi.core import Namespace
from kubeapi.meta import Object
from kubeapi.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)

FINALIZER: Final = "kubernetes"
LOOK_AGAIN_SECONDS: Final = 5.0

RUNNING_FIRST: Final[tuple[Resource[Any], ...]] = (DEPLOYMENTS, REPLICA_SETS, PODS)
"""Makers before what they make, or it would be made again; all of it gone before the rest."""

THE_REST: Final[tuple[Resource[Any], ...]] = (
    SERVICES,
    ENDPOINT_SLICES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    PERSISTENT_VOLUME_CLAIMS,
    LEASES,
    EVENTS,
)


@dataclass(frozen=True, slots=True)
class ObservedNamespace:
    """`contents` by resource path, as a live list showed them."""

    namespace: Namespace
    contents: Mapping[str, tuple[Object, ...]]


def plan_namespace(observed: ObservedNamespace) -> Plan:
    """Nothing for a namespace that stays."""
    meta = observed.namespace.metadata
    if meta.deletion_timestamp is None or FINALIZER not in observed.namespace.spec.finalizers:
        return Plan()
    for resource in RUNNING_FIRST:
        deletions = _plan_deletions(observed, resource)
        if deletions:
            return Plan(deletions, LOOK_AGAIN_SECONDS)
    if any(observed.contents.get(resource.path()) for resource in RUNNING_FIRST):
        return Plan((), LOOK_AGAIN_SECONDS)
    if any(observed.contents.get(resource.path()) for resource in THE_REST):
        deletions = tuple(each for resource in THE_REST for each in _plan_deletions(observed, resource))
        return Plan(deletions, LOOK_AGAIN_SECONDS)
    return Plan((FinalizeNamespace(meta.name, meta.uid),))


def _plan_deletions(observed: ObservedNamespace, resource: Resource[Any]) -> tuple[Action, ...]:
    """Of what isn't being deleted already."""
    return tuple(
        Delete(resource, each.key, each.metadata.uid)
        for each in observed.contents.get(resource.path(), ())
        if each.metadata.deletion_timestamp is None
    )
