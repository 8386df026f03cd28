"""Status conditions: finding one, and setting one as upstream's controllers do.

Pure. Follows the "typical status properties" section of the Kubernetes API conventions.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from kubeapi.meta import Condition, format_time


def get_condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def is_condition_true(conditions: tuple[Condition, ...], type_: str) -> bool:
    condition = get_condition(conditions, type_)
    return condition is not None and condition.status == "True"


def remove_condition(conditions: tuple[Condition, ...], type_: str) -> tuple[Condition, ...]:
    return tuple(condition for condition in conditions if condition.type != type_)


def set_condition(
    conditions: tuple[Condition, ...], wanted: Condition, now: datetime
) -> tuple[Condition, ...]:
    """With `wanted` in place; unchanged if its status and reason already stand.

    The transition time moves only when the status does.
    """
    current = get_condition(conditions, wanted.type)
    if current is not None and (current.status, current.reason) == (wanted.status, wanted.reason):
        return conditions
    moved = format_time(now)
    if current is not None and current.status == wanted.status:
        moved = current.last_transition_time or moved
    stamped = msgspec.structs.replace(wanted, last_transition_time=moved)
    return (*remove_condition(conditions, wanted.type), stamped)
