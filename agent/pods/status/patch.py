"""The difference between two statuses of a pod, as a strategic merge patch.

Pure. Called by `status.writer`. The uid in the patch makes the API server refuse it for a later pod of the
same name. Follows the strategic merge patch page of the API machinery: conditions merge by type, podIPs by
ip, the rest is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.pods.status.conditions import TRANSIENT_TYPES
from kubeapi.pod import PodStatus

_OPTIONAL_CONDITION_FIELDS = ("reason", "message")


def build_status_patch(uid: str, old: PodStatus, new: PodStatus) -> Mapping[str, Any] | None:
    """The patch of the status subresource that turns `old` into `new`; None when they say the same."""
    before: dict[str, Any] = msgspec.to_builtins(old)
    after: dict[str, Any] = msgspec.to_builtins(new)
    changes = {key: value for key, value in after.items() if before.get(key) != value}
    changes |= dict.fromkeys(before.keys() - after.keys())
    if changes.get("conditions"):
        changes["conditions"] = _diff_conditions(before.get("conditions", []), changes["conditions"])
        if not changes["conditions"]:
            del changes["conditions"]  # only their order differs
    if not changes:
        return None
    if changes.get("podIPs") and before.get("podIPs"):
        # The list merges by address, so that an old address would stay.
        changes["podIPs"] = [{"$patch": "replace"}, *changes["podIPs"]]
    return {"metadata": {"uid": uid}, "status": changes}


def _diff_conditions(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only what changed; fields that lost their value are named, because a merge keeps what isn't."""
    known = {condition["type"]: condition for condition in before}
    changed = [condition for condition in after if known.get(condition["type"]) != condition]
    # Of the others' conditions one that is missing here may be newer than what is known of it.
    gone = TRANSIENT_TYPES & known.keys() - {condition["type"] for condition in after}
    return [
        *(_name_absent_fields(condition, known.get(condition["type"])) for condition in changed),
        *({"$patch": "delete", "type": name} for name in sorted(gone)),
    ]


def _name_absent_fields(condition: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    absent = [key for key in _OPTIONAL_CONDITION_FIELDS if key in (known or {}) and key not in condition]
    return {**condition, **dict.fromkeys(absent)}
