"""What columns of many kinds share: ages, label sets, selectors, lists cut short.

Pure; the time is an argument. The texts are those that `kubectl get` shows with an upstream server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kubeapi.meta import parse_time

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
UNSET: Final = "<unset>"
_SHOWN_ITEMS: Final = 3

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_YEAR: Final = 365 * _DAY
_SCALE: Final[tuple[tuple[int, int, str, int, str], ...]] = (
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
)
"""Below so many seconds: the large unit and its letter, the small unit (0: none) and its letter."""


def format_duration(seconds: float) -> str:
    """A time span with two units at most, coarser as it grows: 59s, 3m20s, 5h10m, 3d4h, 2y10d."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    for limit, large, large_letter, small, small_letter in _SCALE:
        if whole < limit:
            count, rest = divmod(whole, large)
            remainder = rest // small if small else 0
            return f"{count}{large_letter}" + (f"{remainder}{small_letter}" if remainder else "")
    return f"{whole // _YEAR}y"


def format_age(text: str | None, now: datetime) -> str:
    """How long ago a time of the API was."""
    return format_duration((now - parse_time(text)).total_seconds()) if text else UNKNOWN


def format_labels(labels: Mapping[str, str]) -> str:
    """A label set as a selector: a=b,c=d."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """A label selector in kubectl's notation."""
    if not selector:
        return NONE
    terms = {key: f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()}
    expressions = [*terms.items()]
    for expression in selector.get("matchExpressions", ()):
        expressions.append((expression.get("key", ""), _format_expression(expression)))
    return ",".join(text for _, text in sorted(expressions)) or NONE


def _format_expression(expression: Mapping[str, Any]) -> str:
    key, values = expression.get("key", ""), ",".join(sorted(expression.get("values", ())))
    match expression.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "DoesNotExist":
            return f"!{key}"
        case _:
            return str(key)


def format_few(items: Sequence[str]) -> str:
    """The first three items, and how many more there are."""
    shown = ",".join(items[:_SHOWN_ITEMS])
    if len(items) > _SHOWN_ITEMS:
        return f"{shown} + {len(items) - _SHOWN_ITEMS} more..."
    return shown or UNSET
