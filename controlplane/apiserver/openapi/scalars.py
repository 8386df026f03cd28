"""The leaves of the API: what a value of each scalar type must look like, and its canonical form.

Pure. Read by `conform`, which names what is wrong and where, and by `compiled`, which only has to know that
something is. Quantities and times are remembered for a while: one document repeats them, and so do the many
documents of one workload.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from controlplane.apiserver.openapi.schema import Scalar
from kubeapi.meta import format_micro_time, format_time, parse_time
from kubeapi.quantity import QuantityError, format_quantity, parse_quantity

WRONG_TYPE: Final = "must be of type"
_REMEMBERED_TEXTS: Final = 1024


class RejectedError(Exception):
    """A leaf that is not of its type; the text goes behind the value."""


def json_type_name(value: object) -> str:
    """JSON's own word for a value's type."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def explain_wrong_type(expected: str, value: object) -> str:
    """What follows a value that is of another JSON type than its field."""
    return f"{WRONG_TYPE} {expected}, not {json_type_name(value)}"


def _read_string(value: Any) -> Any:
    if not isinstance(value, str):
        raise RejectedError(explain_wrong_type("string", value))
    return value


def _read_integer(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RejectedError(explain_wrong_type("integer", value))
    if not -(2**63) <= value < 2**63:
        raise RejectedError("must fit in 64 bits")
    return value


def _read_boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise RejectedError(explain_wrong_type("boolean", value))
    return value


def _read_number(value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RejectedError(explain_wrong_type("number", value))
    return value


def _read_int_or_string(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RejectedError(explain_wrong_type("integer or string", value))
    return value


_TIME_FORM: Final = "2026-01-02T03:04:05Z"
_CANONICAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_CANONICAL_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def _read_time(value: Any) -> Any:
    if isinstance(value, str) and len(value) == len(_TIME_FORM):
        return _canonical_time(value)
    return format_time(_read_instant(value))


@lru_cache(_REMEMBERED_TEXTS)
def _canonical_time(text: str) -> str:
    """Of a text as long as a time, so that what is remembered has a bound."""
    instant = _read_instant(text)
    return text if _CANONICAL_TIME.fullmatch(text) else format_time(instant)


def _read_micro_time(value: Any) -> Any:
    instant = _read_instant(value)
    return value if _CANONICAL_MICRO_TIME.fullmatch(value) else format_micro_time(instant)


def _read_instant(value: Any) -> Any:
    try:
        return parse_time(_read_string(value))
    except (ValueError, OverflowError) as error:
        raise RejectedError(f"must be a time of RFC 3339, for example {_TIME_FORM}") from error


def _read_quantity(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RejectedError(explain_wrong_type("quantity", value))
    try:
        return (
            _canonical_quantity(value) if isinstance(value, str) else format_quantity(parse_quantity(value))
        )
    except QuantityError as error:
        raise RejectedError(_QUANTITY_RULE) from error


@lru_cache(_REMEMBERED_TEXTS)
def _canonical_quantity(text: str) -> str:
    return format_quantity(parse_quantity(text))


_QUANTITY_RULE: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def _read_bytes(value: Any) -> Any:
    text = _read_string(value).replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise RejectedError("must be base64") from error


SCALAR_READERS: Final[Mapping[Scalar, Callable[[Any], Any]]] = MappingProxyType(
    {
        Scalar.STRING: _read_string,
        Scalar.INTEGER: _read_integer,
        Scalar.BOOLEAN: _read_boolean,
        Scalar.NUMBER: _read_number,
        Scalar.TIME: _read_time,
        Scalar.MICRO_TIME: _read_micro_time,
        Scalar.QUANTITY: _read_quantity,
        Scalar.INT_OR_STRING: _read_int_or_string,
        Scalar.BYTES: _read_bytes,
        Scalar.OBJECT: lambda value: value,
    }
)
"""By type: from a value that is not null to its canonical form; RejectedError."""
