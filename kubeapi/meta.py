"""Metadata that every Kubernetes object carries, as frozen views.

Pure. A view decodes the fields this project reads and forgets the rest, so a view is never written back as a
whole object: writers patch. Field names are the snake_case of the API's; camelCase exists only on the wire.
Follows the "ObjectMeta", "LabelSelector" and "Condition" pages of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

IntOrString = int | str
"""A port or a percentage: the API's IntOrString."""

QuantityText = str | int | float
"""A resource quantity as it stands in JSON; `kubeapi.quantity.parse_quantity` reads it."""


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A frozen, partial view of an API document; unknown fields are ignored, defaults are not sent."""


class OwnerReference(View, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(View, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()


class ListMeta(View, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class LabelSelectorRequirement(View, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(View, frozen=True, kw_only=True):
    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(View, frozen=True, kw_only=True):
    """One entry of `status.conditions`, of any kind: pods and nodes add probe and heartbeat times."""

    type: str = ""
    status: str = ""
    observed_generation: int | None = None
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_probe_time: str | None = None
    last_heartbeat_time: str | None = None
    last_update_time: str | None = None


class Object(View, frozen=True, kw_only=True):
    """What all kinds share; each kind's view extends it."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.metadata.namespace, self.metadata.name)


class ObjectKey(msgspec.Struct, frozen=True, order=True):
    """Namespace and name; the namespace of a cluster-scoped object is the empty string."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_MICRO_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def is_newer_version(one: str, other: str) -> bool:
    """Whether resource version `one` came after `other`, both of the same object; an empty one came first.

    Versions are increasing decimal numbers; of any other two that differ the first counts as the newer.
    """
    if one.isdecimal() and other.isdecimal():
        return int(one) > int(other)
    return one not in ("", other)


def parse_time(text: str) -> datetime:
    """The instant of an RFC 3339 text such as the API's Time and MicroTime.

    Raises ValueError for anything else.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"time {text!r} has no zone; write it as RFC 3339, for example 2026-01-02T03:04:05Z")
    return instant.astimezone(UTC)


def format_time(instant: datetime) -> str:
    """The API's Time: RFC 3339 in UTC, whole seconds."""
    return instant.astimezone(UTC).strftime(_TIME_FORMAT)


def format_micro_time(instant: datetime) -> str:
    """The API's MicroTime: RFC 3339 in UTC with exactly six digits of fraction."""
    return instant.astimezone(UTC).strftime(_MICRO_TIME_FORMAT)
