"""Validation of environment variables and of the references that fill them.

Pure. Called for containers; downward API volumes use the same field references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, invalid, not_supported, required
from controlplane.apiserver.validation.names import (
    check_config_key,
    check_qualified_name,
    check_variable_name,
)

_VARIABLE_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_POD_FIELDS: Final = ("metadata.name", "metadata.namespace", "metadata.uid")
_VARIABLE_FIELDS: Final = (
    *_POD_FIELDS,
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_VOLUME_FIELDS: Final = ("metadata.annotations", "metadata.labels", *_POD_FIELDS)
_SUBSCRIPT: Final = re.compile(r"metadata\.(annotations|labels)\['(?P<key>.*)'\]")
_CONTAINER_RESOURCES: Final = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)


def check_variables(variables: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    """Broken rules of a container's env."""
    for index, variable in enumerate(variables):
        place, name = f"{path}[{index}]", variable.get("name", "")
        if not name:
            yield required(f"{place}.name")
        for problem in check_variable_name(name) if name else ():
            yield invalid(f"{place}.name", name, problem)
        if "valueFrom" in variable:
            yield from _check_value_from(variable, f"{place}.valueFrom")


def _check_value_from(variable: Mapping[str, Any], path: str) -> Iterator[Cause]:
    source = variable["valueFrom"]
    count = sum(name in source for name in _VARIABLE_SOURCES)
    if count == 0:
        names = ", ".join(f"`{name}`" for name in _VARIABLE_SOURCES[:-1])
        yield invalid(path, "", f"must specify one of: {names} or `{_VARIABLE_SOURCES[-1]}`")
    elif variable.get("value"):
        yield invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield invalid(path, "", "may not have more than one field specified at a time")
    if "fieldRef" in source or "resourceFieldRef" in source:
        yield from check_field_reference(source, path, is_volume=False)
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            yield from _check_key_reference(source[name], f"{path}.{name}")


def check_field_reference(holder: Mapping[str, Any], path: str, *, is_volume: bool) -> Iterator[Cause]:
    """Broken rules of a fieldRef or resourceFieldRef; a volume may name all labels at once."""
    if "fieldRef" in holder and "resourceFieldRef" in holder:
        yield invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif "fieldRef" in holder:
        supported = _VOLUME_FIELDS if is_volume else _VARIABLE_FIELDS
        yield from _check_field_path(
            holder["fieldRef"].get("fieldPath", ""), supported, f"{path}.fieldRef.fieldPath"
        )
    elif "resourceFieldRef" in holder:
        yield from _check_resource_reference(
            holder["resourceFieldRef"], f"{path}.resourceFieldRef", is_volume
        )
    elif is_volume:
        yield required(path, "one of fieldRef and resourceFieldRef is required")


def _check_field_path(field_path: str, supported: Sequence[str], path: str) -> Iterator[Cause]:
    subscript = _SUBSCRIPT.fullmatch(field_path)
    if not field_path:
        yield required(path)
    elif subscript:
        key = subscript["key"]
        for problem in check_qualified_name(key.lower() if subscript[1] == "annotations" else key):
            yield invalid(path, key, problem)
    elif field_path not in supported:
        yield not_supported(path, field_path, sorted(supported))


def _check_resource_reference(reference: Mapping[str, Any], path: str, is_volume: bool) -> Iterator[Cause]:
    if is_volume and not reference.get("containerName"):
        yield required(f"{path}.containerName")
    resource = reference.get("resource", "")
    if not resource:
        yield required(f"{path}.resource")
    elif resource not in _CONTAINER_RESOURCES and "hugepages-" not in resource:
        yield not_supported(f"{path}.resource", resource, _CONTAINER_RESOURCES)


def _check_key_reference(reference: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not reference.get("name"):
        yield required(f"{path}.name")
    if not reference.get("key"):
        yield required(f"{path}.key")
    else:
        for problem in check_config_key(reference["key"]):
            yield invalid(f"{path}.key", reference["key"], problem)


def check_variable_sources(sources: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    """Broken rules of a container's envFrom."""
    for index, source in enumerate(sources):
        place = f"{path}[{index}]"
        for problem in check_variable_name(source["prefix"]) if source.get("prefix") else ():
            yield invalid(f"{place}.prefix", source["prefix"], problem)
        given = [name for name in ("configMapRef", "secretRef") if name in source]
        if not given:
            yield invalid(place, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid(place, "", "may not have more than one field specified at a time")
        for name in given:
            if not source[name].get("name"):
                yield required(f"{place}.{name}.name")
