"""Names that controllers give to what they make: a base and a short suffix of unambiguous characters.

Pure: the suffix is a digest of what the caller passes, so that the same decision gives the same name.
"""

from __future__ import annotations

from collections.abc import Container
from hashlib import blake2b
from typing import Final

# No vowels and none of 0, 1, 3: no words, no look-alikes (the alphabet that upstream's names use).
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_NAME: Final = 63


def build_suffix(*parts: str, length: int = 5) -> str:
    number = int.from_bytes(blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def choose_names(base: str, seed: str, count: int, taken: Container[str]) -> tuple[str, ...]:
    """`count` different names `<base>-<suffix>` that aren't taken; the same for the same arguments."""
    names: list[str] = []
    attempt = 0
    while len(names) < count:
        suffix = build_suffix(seed, str(attempt))
        name = f"{base[: _LONGEST_NAME - 6]}-{suffix}"
        attempt += 1
        if name not in taken and name not in names:
            names.append(name)
    return tuple(names)
