"""Resource quantities such as `100m`, `1.5Gi` and `2e3`: exact values, canonical text.

Pure. Read by the scheduler, the agent and the API server's validation. A value is a whole number of
billionths; finer text is rounded away from zero and larger than 2^63-1 is capped, as the "Quantity" page of
the Kubernetes API reference has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from kubeapi.errors import KubeAPIError
from kubeapi.meta import QuantityText


class QuantityError(KubeAPIError, ValueError):
    """The text isn't a quantity."""


class QuantityFormat(Enum):
    """The family of suffixes that a quantity was written with, and is written with again."""

    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


NANOS_PER_UNIT: Final = 10**9
_NANOS_PER_MILLI: Final = 10**6
_MAXIMUM_NANOS: Final = (2**63 - 1) * NANOS_PER_UNIT
_MAXIMUM_TEXT_LENGTH: Final = 128

_DECIMAL_EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
)
_DECIMAL_SUFFIXES: Final[Mapping[int, str]] = MappingProxyType(
    {exponent: suffix for suffix, exponent in _DECIMAL_EXPONENTS.items()}
)
_BINARY_SUFFIXES: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

_QUANTITY: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?"
    r"(?:(?P<binary>[KMGTPE]i)|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """An exact amount; two quantities are equal when their amounts are, however they are written."""

    nanos: int
    format: QuantityFormat = field(default=QuantityFormat.DECIMAL_SI, compare=False)

    @classmethod
    def from_units(cls, units: int, format: QuantityFormat = QuantityFormat.DECIMAL_SI) -> Quantity:
        return cls(units * NANOS_PER_UNIT, format)

    @classmethod
    def from_millis(cls, millis: int, format: QuantityFormat = QuantityFormat.DECIMAL_SI) -> Quantity:
        return cls(millis * _NANOS_PER_MILLI, format)

    def units(self) -> int:
        """The whole amount (bytes, cores, pods), rounded up."""
        return -(-self.nanos // NANOS_PER_UNIT)

    def millis(self) -> int:
        """The amount in thousandths, rounded up."""
        return -(-self.nanos // _NANOS_PER_MILLI)

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, written as the first summand is (as the second, if the first is zero)."""
        return Quantity(self.nanos + other.nanos, self.format if self.nanos else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.format if self.nanos else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.format)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __str__(self) -> str:
        return format_quantity(self)


ZERO: Final = Quantity(0)


def parse_quantity(text: QuantityText) -> Quantity:
    """The quantity that JSON text or a JSON number stands for; raises QuantityError."""
    written = text if isinstance(text, str) else repr(text)
    match = _QUANTITY.fullmatch(written) if len(written) <= _MAXIMUM_TEXT_LENGTH else None
    if match is None or not (match["whole"] or match["fraction"]):
        raise QuantityError(
            f"{written[:_MAXIMUM_TEXT_LENGTH]!r} is not a quantity; write a number with an optional suffix, "
            "for example 500m, 2, 1.5Gi or 1e3"
        )
    fraction = match["fraction"] or ""
    digits = int((match["whole"] + fraction) or "0")
    format_, exponent, multiplier = _read_suffix(match)
    nanos = _scale(digits * multiplier, exponent - len(fraction) + 9)
    return Quantity(-nanos if match["sign"] == "-" else nanos, format_)


def format_quantity(quantity: Quantity) -> str:
    """The canonical text: no fraction, the largest suffix of its family that keeps the value exact."""
    if quantity.nanos == 0:
        return "0"
    match quantity.format:
        case QuantityFormat.BINARY_SI if _has_binary_text(quantity.nanos):
            return _format_binary(quantity.nanos // NANOS_PER_UNIT)
        case QuantityFormat.BINARY_SI | QuantityFormat.DECIMAL_SI:
            mantissa, exponent = _split_thousands(quantity.nanos)
            return f"{mantissa}{_DECIMAL_SUFFIXES[exponent]}" if exponent <= 18 else f"{mantissa}e{exponent}"
        case QuantityFormat.DECIMAL_EXPONENT:
            mantissa, exponent = _split_thousands(quantity.nanos)
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)


def _read_suffix(match: re.Match[str]) -> tuple[QuantityFormat, int, int]:
    """Format, power of ten and plain multiplier."""
    if match["binary"]:
        return QuantityFormat.BINARY_SI, 0, 1024 ** _BINARY_SUFFIXES.index(match["binary"])
    if match["exponent"]:
        return QuantityFormat.DECIMAL_EXPONENT, int(match["exponent"]), 1
    return QuantityFormat.DECIMAL_SI, _DECIMAL_EXPONENTS[match["decimal"] or ""], 1


def _scale(digits: int, exponent: int) -> int:
    """digits * 10**exponent, rounded up to a whole number and capped."""
    if digits == 0:
        return 0
    if exponent > _MAXIMUM_TEXT_LENGTH:
        return _MAXIMUM_NANOS
    if exponent >= 0:
        return min(digits * _power_of_ten(exponent), _MAXIMUM_NANOS)
    # Beyond this many places even the longest accepted text is less than one billionth.
    divisor = _power_of_ten(min(-exponent, 2 * _MAXIMUM_TEXT_LENGTH))
    return min(-(-digits // divisor), _MAXIMUM_NANOS)


def _power_of_ten(exponent: int) -> int:
    return int(10**exponent)


def _has_binary_text(nanos: int) -> bool:
    """Amounts below 1024 and fractions are written with decimal suffixes."""
    return abs(nanos) >= 1024 * NANOS_PER_UNIT and nanos % NANOS_PER_UNIT == 0


def _format_binary(units: int) -> str:
    power = 0
    while units % 1024 == 0 and power + 1 < len(_BINARY_SUFFIXES):
        units //= 1024
        power += 1
    return f"{units}{_BINARY_SUFFIXES[power]}"


def _split_thousands(nanos: int) -> tuple[int, int]:
    """Mantissa and a power of ten that is a multiple of three, with the power as large as it can be."""
    mantissa, exponent = nanos, -9
    while mantissa % 1000 == 0:
        mantissa //= 1000
        exponent += 3
    return mantissa, exponent
