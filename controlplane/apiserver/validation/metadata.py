"""Validation of what every object carries: names, labels, annotations, owners, finalizers.

Pure. Called for each kind with that kind's rule for names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid, required, too_long
from controlplane.apiserver.validation.names import (
    check_label,
    check_label_value,
    check_qualified_name,
)

NameRule = Callable[[str], tuple[str, ...]]

IMMUTABLE: Final = "field is immutable"
_ANNOTATIONS_LIMIT_BYTES: Final = 256 * 1024
_IMMUTABLE_FIELDS: Final = ("name", "namespace", "uid", "creationTimestamp")
_STANDARD_FINALIZERS: Final = ("kubernetes", "orphan", "foregroundDeletion")


def check_metadata(metadata: Mapping[str, Any], name_rule: NameRule, is_namespaced: bool) -> Iterator[Cause]:
    """Rules that a new or changed object's metadata breaks."""
    yield from _check_names(metadata, name_rule)
    yield from _check_namespace(metadata.get("namespace", ""), is_namespaced)
    yield from check_labels(metadata.get("labels", {}), "metadata.labels")
    yield from check_annotations(metadata.get("annotations", {}), "metadata.annotations")
    yield from _check_owners(metadata.get("ownerReferences", ()))
    yield from check_finalizers(metadata.get("finalizers", ()), "metadata.finalizers")


def check_metadata_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of metadata that may not happen."""
    for name in _IMMUTABLE_FIELDS:
        if name in new and name in old and new[name] != old[name]:
            yield invalid(f"metadata.{name}", new[name], IMMUTABLE)


def _check_names(metadata: Mapping[str, Any], name_rule: NameRule) -> Iterator[Cause]:
    prefix, name = metadata.get("generateName", ""), metadata.get("name", "")
    if prefix:
        # The random tail makes up for a dash or dot at the end.
        for problem in name_rule(prefix[:-1] + "a" if prefix[-1] in "-." else prefix):
            yield invalid("metadata.generateName", prefix, problem)
    if not name:
        yield required("metadata.name", "name or generateName is required")
        return
    for problem in name_rule(name):
        yield invalid("metadata.name", name, problem)


def _check_namespace(namespace: str, is_namespaced: bool) -> Iterator[Cause]:
    if not is_namespaced:
        if namespace:
            yield forbidden("metadata.namespace", "not allowed on this type")
    elif not namespace:
        yield required("metadata.namespace")
    else:
        for problem in check_label(namespace):
            yield invalid("metadata.namespace", namespace, problem)


def check_labels(labels: Mapping[str, str], path: str) -> Iterator[Cause]:
    """Broken rules of label keys and values."""
    for key, value in labels.items():
        for problem in check_qualified_name(key):
            yield invalid(path, key, problem)
        for problem in check_label_value(value):
            yield invalid(path, value, problem)


def check_annotations(annotations: Mapping[str, str], path: str) -> Iterator[Cause]:
    """Broken rules of annotation keys, and of the size of all together."""
    size = 0
    for key, value in annotations.items():
        size += len(key.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        for problem in check_qualified_name(key.lower()):
            yield invalid(path, key, problem)
    if size > _ANNOTATIONS_LIMIT_BYTES:
        yield too_long(path, _ANNOTATIONS_LIMIT_BYTES)


def check_finalizers(finalizers: tuple[str, ...] | list[str], path: str) -> Iterator[Cause]:
    """Broken rules of finalizer names."""
    for index, finalizer in enumerate(finalizers):
        problems = check_qualified_name(finalizer)
        for problem in problems:
            yield invalid(f"{path}[{index}]", finalizer, problem)
        if not problems and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            yield invalid(
                f"{path}[{index}]",
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            )


def _check_owners(owners: list[Mapping[str, Any]] | tuple[()]) -> Iterator[Cause]:
    controllers = [owner for owner in owners if owner.get("controller")]
    for index, owner in enumerate(owners):
        for name, text in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(name):
                yield invalid(
                    f"metadata.ownerReferences[{index}].{name}",
                    owner.get(name, ""),
                    f"{text} must not be empty",
                )
    if len(controllers) > 1:
        first, second = (owner.get("name", "") for owner in controllers[:2])
        yield invalid(
            "metadata.ownerReferences",
            list(owners),
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {first} and {second}',
        )
