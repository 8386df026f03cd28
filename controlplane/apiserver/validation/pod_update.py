"""What of a pod may change once it exists.

Pure. Called for updates of the pod itself; status, binding and ephemeral containers are written through
subresources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid

_REFUSAL: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_TOLERATION_REFUSAL: Final = "existing toleration can not be modified except its tolerationSeconds"
_CHANGEABLE: Final = (
    "containers",
    "initContainers",
    "activeDeadlineSeconds",
    "tolerations",
    "schedulingGates",
)


def check_pod_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of a pod's spec that may not happen."""
    after, before = new.get("spec", {}), old.get("spec", {})
    if after == before:
        return
    lists = ("containers", "initContainers")
    if any(len(after.get(name, ())) != len(before.get(name, ())) for name in lists):
        yield forbidden("spec.containers", "pod updates may not add or remove containers")
        return
    yield from _check_deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    yield from _check_tolerations(after.get("tolerations", ()), before.get("tolerations", ()))
    yield from _check_gates(after.get("schedulingGates", ()), before.get("schedulingGates", ()))
    changed = sorted(_changed_fields(after, before))
    if changed:
        yield forbidden("spec", f"{_REFUSAL}; changed: {', '.join(changed)}")


def _changed_fields(after: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """The fields that differ and may not; containers are compared without their images."""
    for name in after.keys() | before.keys():
        if (
            name not in _CHANGEABLE
            and after.get(name) != before.get(name)
            and not _repairs_grace(name, after, before)
        ):
            yield f"spec.{name}"
    for name in ("containers", "initContainers"):
        if [_fixed_part(item) for item in after.get(name, ())] != [
            _fixed_part(item) for item in before.get(name, ())
        ]:
            yield f"spec.{name}"


def _fixed_part(container: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key != "image"}


def _repairs_grace(name: str, after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return name == "terminationGracePeriodSeconds" and before.get(name, 0) < 0 and after.get(name) == 1


def _check_deadline(after: int | None, before: int | None) -> Iterator[Cause]:
    if before is None or after == before:
        return
    if after is None:
        yield invalid(
            "spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value"
        )
    elif after > before:
        yield invalid(
            "spec.activeDeadlineSeconds", after, f"must be less than or equal to previous value of {before}"
        )


def _check_tolerations(
    after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> Iterator[Cause]:
    kept = [_without_seconds(toleration) for toleration in after]
    if any(_without_seconds(toleration) not in kept for toleration in before):
        yield forbidden("spec.tolerations", _TOLERATION_REFUSAL)


def _without_seconds(toleration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _check_gates(after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> Iterator[Cause]:
    for index, gate in enumerate(after):
        if gate not in before:
            yield forbidden(
                f"spec.schedulingGates[{index}]", "only deletion is allowed, but found new scheduling gate"
            )
