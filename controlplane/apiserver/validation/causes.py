"""One reason why an object is refused, in the words of the API.

Pure. Made by the validators, sent by the API server as the `causes` of an Invalid status. Reasons and wording
follow Kubernetes' field errors ("Invalid value: …", "Required value", …), which people and tests match on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_SHOWN_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Cause:
    """A field's path, a machine-readable reason, and the message a person reads."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def required(field: str, detail: str = "") -> Cause:
    """The field must be given."""
    return Cause(field, "FieldValueRequired", _with_detail("Required value", detail))


def invalid(field: str, value: Any, detail: str) -> Cause:
    """The value breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {quote_value(value)}: {detail}")


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    """The value is of the wrong JSON type."""
    return Cause(field, "FieldValueTypeInvalid", f"Invalid value: {quote_value(value)}: {detail}")


def duplicate(field: str, value: Any) -> Cause:
    """The value stands there already."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {quote_value(value)}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """The value is none of a closed set."""
    known = ", ".join(quote_value(choice) for choice in supported)
    return Cause(
        field, "FieldValueNotSupported", f"Unsupported value: {quote_value(value)}: supported values: {known}"
    )


def not_found(field: str, value: Any) -> Cause:
    """The value names something that isn't there."""
    return Cause(field, "FieldValueNotFound", f"Not found: {quote_value(value)}")


def forbidden(field: str, detail: str) -> Cause:
    """The field may not be set, or not be changed."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(field: str, limit_bytes: int) -> Cause:
    """The value has too many bytes."""
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit_bytes} bytes")


def too_many(field: str, count: int, limit: int) -> Cause:
    """The list has too many items."""
    return Cause(field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


def quote_value(value: Any) -> str:
    """A value as messages show it: JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "…"


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text
