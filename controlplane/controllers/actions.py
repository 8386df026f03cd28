"""What a controller's plan may ask for: a closed union of frozen actions, each one write to the API.

Pure. Built by the `plan_…` modules, carried out by `controlplane.controllers.execute`. Actions are
idempotent: a deletion names a UID, a creation names the object, a patch says absolute values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.notes import Note
from kubeapi.meta import ObjectKey
from kubeapi.resources import Resource

Body = Mapping[str, Any]
AnyResource = Resource[Any]


@dataclass(frozen=True, slots=True)
class Create:
    """`failure_reason` names the Warning event that a refusal causes, on the object of `note`."""

    resource: AnyResource
    key: ObjectKey
    body: Body
    note: Note | None = None
    failure_reason: str = ""


@dataclass(frozen=True, slots=True)
class MergePatch:
    """RFC 7396; `metadata.resourceVersion` in the body makes it conditional."""

    resource: AnyResource
    key: ObjectKey
    body: Body
    subresource: str = ""
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class StrategicPatch:
    """Kubernetes' strategic merge patch: for lists that several writers share, such as conditions."""

    resource: AnyResource
    key: ObjectKey
    body: Body
    subresource: str = ""
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """`resource_version` makes it conditional: for what was decided from a field that others may change."""

    resource: AnyResource
    key: ObjectKey
    uid: str
    propagation_policy: str = "Background"
    resource_version: str = ""
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """Become an orphan's controller, unless a live look shows the owner gone, replaced or being deleted.

    The informers of two kinds aren't ordered: without the look, a deletion that orphans would be undone.
    """

    resource: AnyResource
    key: ObjectKey
    body: Body
    owner_resource: AnyResource
    owner_key: ObjectKey
    owner_uid: str


@dataclass(frozen=True, slots=True)
class FinalizeNamespace:
    """Take `kubernetes` out of `spec.finalizers`: the namespace is empty and may go."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Write an Event and nothing else."""

    note: Note


Action = Create | MergePatch | StrategicPatch | Delete | Adopt | FinalizeNamespace | Announce


@dataclass(frozen=True, slots=True)
class Plan:
    """`actions` in order; `look_again_seconds` is set when time alone will change the answer."""

    actions: tuple[Action, ...] = ()
    look_again_seconds: float | None = None


def group_independent(actions: tuple[Action, ...], most: int) -> Iterator[tuple[Action, ...]]:
    """In order, neighbours that may be sent at once: creations, or deletions; at most `most` together."""
    group: list[Action] = []
    for action in actions:
        joins = group and type(action) is type(group[0]) and isinstance(action, Create | Delete)
        if group and not (joins and len(group) < most):
            yield tuple(group)
            group = []
        group.append(action)
    if group:
        yield tuple(group)
