"""Whether an object may be stored, and if not, why: all causes at once, with their fields' paths.

Pure. Called by the API server after defaulting; nothing here raises, whatever the document holds. Paths,
reasons and wording follow Kubernetes' own validation, as seen in its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from controlplane.apiserver.openapi.conform import Conformed, Mismatch, conform_document
from controlplane.apiserver.openapi.schema import Document
from controlplane.apiserver.validation import (
    classes,
    cluster,
    configuration,
    pod_subresources,
    pod_update,
    pods,
    services,
    storage,
    workloads,
)
from controlplane.apiserver.validation.causes import Cause, invalid, type_invalid
from controlplane.apiserver.validation.metadata import NameRule, check_metadata, check_metadata_update
from controlplane.apiserver.validation.names import check_label, check_service_name, check_subdomain

__all__ = [
    "Cause",
    "find_broken_rules",
    "find_type_errors",
    "find_unknown_fields",
    "list_type_causes",
    "validate_create",
    "validate_update",
]

Check = Callable[[Mapping[str, Any]], Iterator[Cause]]
UpdateCheck = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[Cause]]


@dataclass(frozen=True, slots=True)
class _Rules:
    """How one kind is validated; the checks of the object itself hold for new and for changed objects,
    those of `check_new` for new ones only.
    """

    check: Check | None = None
    check_update: UpdateCheck | None = None
    check_new: Check | None = None
    name_rule: NameRule = check_subdomain
    is_namespaced: bool = True
    has_metadata: bool = True


_RULES: Final[Mapping[str, _Rules]] = MappingProxyType(
    {
        "Pod": _Rules(pods.check_pod, pod_update.check_pod_update, pods.check_new_pod),
        "Service": _Rules(
            services.check_service, services.check_service_update, name_rule=check_service_name
        ),
        "Deployment": _Rules(workloads.check_deployment, workloads.check_selector_update),
        "ReplicaSet": _Rules(workloads.check_replica_set, workloads.check_selector_update),
        "Scale": _Rules(workloads.check_scale, has_metadata=False),
        "ConfigMap": _Rules(configuration.check_config_map, configuration.check_config_map_update),
        "Secret": _Rules(configuration.check_secret, configuration.check_secret_update),
        "ServiceAccount": _Rules(),
        "Namespace": _Rules(cluster.check_namespace, name_rule=check_label, is_namespaced=False),
        "Node": _Rules(cluster.check_node, cluster.check_node_update, is_namespaced=False),
        "EndpointSlice": _Rules(cluster.check_endpoint_slice, cluster.check_endpoint_slice_update),
        "Endpoints": _Rules(cluster.check_endpoints),
        "Lease": _Rules(cluster.check_lease),
        "Event": _Rules(cluster.check_event),
        "Binding": _Rules(cluster.check_binding, has_metadata=False),
        "PersistentVolume": _Rules(
            storage.check_persistent_volume, storage.check_persistent_volume_update, is_namespaced=False
        ),
        "PersistentVolumeClaim": _Rules(storage.check_claim, storage.check_claim_update),
        "StorageClass": _Rules(
            storage.check_storage_class, storage.check_storage_class_update, is_namespaced=False
        ),
        "RuntimeClass": _Rules(
            classes.check_runtime_class, classes.check_runtime_class_update, is_namespaced=False
        ),
        "PriorityClass": _Rules(
            classes.check_priority_class, classes.check_priority_class_update, is_namespaced=False
        ),
    }
)

_NO_RULES: Final = _Rules(has_metadata=False)
_SUBRESOURCE_RULES: Final[Mapping[tuple[str, str], _Rules]] = MappingProxyType(
    {
        ("Pod", "ephemeralcontainers"): _Rules(
            pods.check_pod, pod_subresources.check_ephemeral_containers_update
        ),
        ("Pod", "resize"): _Rules(pods.check_pod, pod_subresources.check_resize),
    }
)


def validate_create(kind_name: str, new: Document) -> tuple[Cause, ...]:
    """Why the object may not be created; empty when it may. Its name must be generated already."""
    return _validate(kind_name, new, None)


def validate_update(kind_name: str, new: Document, old: Document, subresource: str = "") -> tuple[Cause, ...]:
    """Why the stored object `old` may not become `new`; empty when it may.

    `subresource`: written through it, where its changes have rules of their own.
    """
    return _validate(kind_name, new, old, subresource)


def find_broken_rules(
    kind_name: str, new: Document, old: Document | None = None, subresource: str = ""
) -> tuple[Cause, ...]:
    """As `validate_create` or, with `old`, `validate_update`, of documents that conform to their schema.

    Defaulting leaves such documents behind, and what admission adds to them conforms as well.
    """
    return tuple(dict.fromkeys(_list_causes(_find_rules(kind_name, subresource), new, old)))


def find_unknown_fields(kind_name: str, document: object) -> tuple[str, ...]:
    """One sentence for each field that the kind doesn't have, as strict field validation words it."""
    unknown = conform_document(kind_name, document).unknown_fields
    return tuple(f'unknown field "{path}"' for path in unknown)


def find_type_errors(kind_name: str, document: object) -> tuple[Cause, ...]:
    """The values that are not of their field's type; with any, the document can't be defaulted."""
    return list_type_causes(conform_document(kind_name, document))


def list_type_causes(conformed: Conformed) -> tuple[Cause, ...]:
    """What a document was found to hold that is not of its field's type."""
    return tuple(_to_cause(mismatch) for mismatch in conformed.mismatches)


def _validate(
    kind_name: str, new: Document, old: Document | None, subresource: str = ""
) -> tuple[Cause, ...]:
    conformed = conform_document(kind_name, new)
    if conformed.mismatches:
        return list_type_causes(conformed)
    before = conform_document(kind_name, old).document if old is not None else None
    return find_broken_rules(kind_name, conformed.document, before, subresource)


def _find_rules(kind_name: str, subresource: str) -> _Rules:
    rules = _SUBRESOURCE_RULES.get((kind_name, subresource)) or _RULES.get(kind_name, _NO_RULES)
    # Who reports a status isn't held to what rules say today of a spec that was let in long ago.
    return replace(rules, check=None, check_update=None) if subresource == "status" else rules


def _list_causes(rules: _Rules, new: Document, old: Document | None) -> Iterator[Cause]:
    if rules.has_metadata:
        yield from check_metadata(new.get("metadata", {}), rules.name_rule, rules.is_namespaced)
    if rules.check is not None:
        yield from rules.check(new)
    if old is None and rules.check_new is not None:
        yield from rules.check_new(new)
    if old is not None:
        yield from check_metadata_update(new.get("metadata", {}), old.get("metadata", {}))
        if rules.check_update is not None:
            yield from rules.check_update(new, old)


def _to_cause(mismatch: Mismatch) -> Cause:
    make = type_invalid if mismatch.is_wrong_type else invalid
    return make(mismatch.path, mismatch.value, mismatch.message)
