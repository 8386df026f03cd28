"""Query parameters and option bodies, read into values.

Pure. Called by the HTTP layer; ApiFailure 400 names what is wrong. Follows ListOptions, DeleteOptions and
the common parameters of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from controlplane.apiserver.deletion import DeleteOptions, Propagation
from controlplane.apiserver.failures import bad_request
from controlplane.apiserver.kinds import Kind
from controlplane.apiserver.request_path import is_true
from controlplane.apiserver.watching import Selection
from kubeapi.selectors import FieldRequirement, SelectorError, parse_field_selector, parse_label_selector

_FIELDS_OF_ALL = frozenset({"metadata.name", "metadata.namespace"})


class FieldValidation(StrEnum):
    """What happens to fields that the kind does not have."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


def read_selection(kind: Kind, namespace: str, query: Mapping[str, str]) -> Selection:
    try:
        labels = parse_label_selector(query.get("labelSelector", ""))
        fields = parse_field_selector(query.get("fieldSelector", ""))
    except SelectorError as error:
        raise bad_request(str(error)) from error
    _check_fields(kind, fields)
    return Selection(namespace, labels, fields)


def read_number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number from the query; None if it is absent."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f'{name}: Invalid value: "{text}": must be a whole number') from error


def is_dry_run(values: list[str]) -> bool:
    """From the `dryRun` parameters or the field of an options body."""
    if any(value != "All" for value in values):
        raise bad_request(f'dryRun: Unsupported value: "{values[0]}": supported values: "All"')
    return bool(values)


def read_field_validation(query: Mapping[str, str]) -> FieldValidation:
    text = query.get("fieldValidation") or FieldValidation.WARN
    try:
        return FieldValidation(text)
    except ValueError as error:
        raise bad_request(
            f'fieldValidation: Unsupported value: "{text}": supported values: "Ignore", "Strict", "Warn"'
        ) from error


def read_delete_options(
    query: Mapping[str, str], dry_run_values: list[str], body: Mapping[str, Any]
) -> DeleteOptions:
    """From a DeleteOptions body; what it leaves out is taken from the query."""
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = read_number(query, "gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request("gracePeriodSeconds: must be a whole number")
    return DeleteOptions(
        grace_period_seconds=grace,
        propagation=_read_propagation(query, body),
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=is_dry_run([*dry_run_values, *(body.get("dryRun") or ())]),
    )


def _read_propagation(query: Mapping[str, str], body: Mapping[str, Any]) -> Propagation | None:
    text = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphans = body.get("orphanDependents")
    if orphans is None and "orphanDependents" in query:
        orphans = is_true(query["orphanDependents"])
    if text and orphans is not None:
        raise bad_request("orphanDependents and propagationPolicy cannot both be set")
    if orphans is not None:
        return Propagation.ORPHAN if orphans else Propagation.BACKGROUND
    if not text:
        return None
    try:
        return Propagation(text)
    except ValueError as error:
        raise bad_request(
            f'propagationPolicy: Unsupported value: "{text}": '
            'supported values: "Background", "Foreground", "Orphan"'
        ) from error


def _check_fields(kind: Kind, requirements: tuple[FieldRequirement, ...]) -> None:
    for requirement in requirements:
        if requirement.path not in _FIELDS_OF_ALL and requirement.path not in kind.fields:
            raise bad_request(f'field label not supported: "{requirement.path}"')
