"""Label selectors and field selectors: parsed once, then matched many times.

Pure. Used by the API server's list and watch, the controllers, the scheduler and the agent. Follows "Labels
and Selectors" and "Field Selectors" in the Kubernetes documentation, and the LabelSelector page of the API
reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from kubeapi.errors import KubeAPIError
from kubeapi.meta import LabelSelector, LabelSelectorRequirement


class SelectorError(KubeAPIError, ValueError):
    """The selector can't be understood; the message says which part and why."""


class Operator(Enum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    GREATER_THAN = "gt"
    LESS_THAN = "lt"


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One condition on one label; `values` are sorted and without duplicates."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.GREATER_THAN:
                return value is not None and _compares(value, self.values[0]) > 0
            case Operator.LESS_THAN:
                return value is not None and _compares(value, self.values[0]) < 0
            case _:
                assert_never(self.operator)

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator.value} ({','.join(self.values)})"
            case Operator.GREATER_THAN | Operator.LESS_THAN:
                return f"{self.key}{'>' if self.operator is Operator.GREATER_THAN else '<'}{self.values[0]}"
            case _:
                assert_never(self.operator)


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none matches everything. `matches_nothing` is an absent LabelSelector."""

    requirements: tuple[LabelRequirement, ...] = ()
    matches_nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.matches_nothing:
            return False
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """As text that `parse_label_selector` reads; ordered by key."""
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(matches_nothing=True)


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One field that must, or must not, have exactly this value."""

    path: str
    value: str
    equal: bool = True

    def matches(self, fields: Mapping[str, str]) -> bool:
        """A field that is absent counts as empty."""
        return (fields.get(self.path, "") == self.value) is self.equal

    def __str__(self) -> str:
        return f"{self.path}{'=' if self.equal else '!='}{_escape(self.value)}"


def build_label_selector(selector: LabelSelector | None) -> Selector:
    """From an object's `selector` field: absent matches nothing, empty matches everything; raises
    SelectorError.
    """
    if selector is None:
        return NOTHING
    equalities = [
        build_label_requirement(key, Operator.IN, (value,)) for key, value in selector.match_labels.items()
    ]
    expressions = [_read_expression(expression) for expression in selector.match_expressions]
    return _build_selector([*equalities, *expressions])


def build_equality_selector(labels: Mapping[str, str]) -> Selector:
    """From a plain map of labels, as Services have; an empty map matches everything."""
    return build_label_selector(LabelSelector(match_labels=labels))


def parse_label_selector(text: str) -> Selector:
    """From the text of a query such as `app=web,tier in (a,b),!canary`; raises SelectorError."""
    return _build_selector(list(_LabelParser(text).requirements()))


def build_label_requirement(key: str, operator: Operator, values: tuple[str, ...] = ()) -> LabelRequirement:
    """A checked requirement: key and values are legal, and their number fits the operator."""
    _check_key(key)
    match operator:
        case Operator.IN | Operator.NOT_IN:
            if not values:
                raise SelectorError(f"label {key!r}: {operator.value!r} needs at least one value")
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            if values:
                raise SelectorError(f"label {key!r}: a test for existence takes no values")
        case Operator.GREATER_THAN | Operator.LESS_THAN:
            if len(values) != 1 or not _INTEGER.fullmatch(values[0]):
                raise SelectorError(f"label {key!r}: {operator.value!r} needs exactly one whole number")
        case _:
            assert_never(operator)
    for value in values:
        _check_value(key, value)
    return LabelRequirement(key, operator, tuple(sorted(set(values))))


def parse_field_selector(text: str) -> tuple[FieldRequirement, ...]:
    """From the text of a query such as `spec.nodeName=n1,status.phase!=Failed`; raises SelectorError.

    Which fields a kind has is for the caller to check.
    """
    return tuple(_read_field_term(term) for term in _split_field_terms(text) if term)


def matches_fields(requirements: tuple[FieldRequirement, ...], fields: Mapping[str, str]) -> bool:
    return all(requirement.matches(fields) for requirement in requirements)


# --- label selectors: reading -------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_PREFIX: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_TOKEN: Final = re.compile(r"\s*(?:(?P<symbol>==|!=|[=!(),<>])|(?P<word>[^\s=!(),<>]+))")

_EXPRESSION_OPERATORS: Final[Mapping[str, Operator]] = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}
_INFIX_OPERATORS: Final[Mapping[str, Operator]] = {
    "=": Operator.IN,
    "==": Operator.IN,
    "!=": Operator.NOT_IN,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
}


class _LabelParser:
    """Recursive descent over the tokens of one selector; a token is its text, the end is the empty text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _split_tokens(text)
        self._next = 0

    def requirements(self) -> Iterator[LabelRequirement]:
        while self._peek():
            yield self._read_requirement()
            if self._peek():
                self._expect(",")
                if not self._peek():
                    raise self._error("it ends with a comma")

    def _read_requirement(self) -> LabelRequirement:
        if self._peek() == "!":
            self._take()
            return build_label_requirement(self._read_word("a label key"), Operator.DOES_NOT_EXIST)
        key = self._read_word("a label key")
        if self._peek() in ("", ","):
            return build_label_requirement(key, Operator.EXISTS)
        text = self._take()
        operator = _INFIX_OPERATORS.get(text)
        if operator is None:
            raise self._error(f"{text!r} is no operator; use =, ==, !=, in, notin, > or <")
        values = self._read_set() if text in ("in", "notin") else (self._read_value(),)
        return build_label_requirement(key, operator, values)

    def _read_set(self) -> tuple[str, ...]:
        self._expect("(")
        values = [self._read_value()]
        while self._peek() == ",":
            self._take()
            values.append(self._read_value())
        self._expect(")")
        return tuple(values)

    def _read_value(self) -> str:
        """A value may be left out, which is the empty value."""
        return "" if self._peek() in ("", ",", ")") else self._read_word("a value")

    def _read_word(self, wanted: str) -> str:
        token = self._take()
        if not token or token in _SYMBOLS:
            raise self._error(
                f"expected {wanted}, found {token!r}" if token else f"expected {wanted} at the end"
            )
        return token

    def _expect(self, symbol: str) -> None:
        token = self._take()
        if token != symbol:
            raise self._error(f"expected {symbol!r}, found {token!r}" if token else f"{symbol!r} is missing")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _error(self, why: str) -> SelectorError:
        return SelectorError(f"cannot read label selector {self._text!r}: {why}")


_SYMBOLS: Final = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})


def _split_tokens(text: str) -> tuple[str, ...]:
    return tuple(match["symbol"] or match["word"] for match in _TOKEN.finditer(text))


def _read_expression(expression: LabelSelectorRequirement) -> LabelRequirement:
    operator = _EXPRESSION_OPERATORS.get(expression.operator)
    if operator is None:
        raise SelectorError(
            f"label {expression.key!r}: {expression.operator!r} is no operator of a label selector; "
            "use In, NotIn, Exists or DoesNotExist"
        )
    return build_label_requirement(expression.key, operator, expression.values)


def _build_selector(requirements: list[LabelRequirement]) -> Selector:
    if not requirements:
        return EVERYTHING
    return Selector(
        tuple(sorted(requirements, key=lambda each: (each.key, each.operator.value, each.values)))
    )


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _PREFIX.fullmatch(prefix)):
        raise SelectorError(f"label key {key!r}: the part before the slash must be a DNS name in lower case")
    if not _NAME.fullmatch(name):
        raise SelectorError(
            f"label key {key!r}: the name must be 1 to 63 letters, digits, '-', '_' or '.', "
            "beginning and ending with a letter or digit"
        )


def _check_value(key: str, value: str) -> None:
    if value and not _NAME.fullmatch(value):
        raise SelectorError(
            f"label {key!r}: value {value!r} must be empty, or at most 63 letters, digits, '-', '_' or '.', "
            "beginning and ending with a letter or digit"
        )


def _compares(value: str, bound: str) -> int:
    """Sign of the difference; a value that is no whole number compares as neither greater nor less."""
    if not _INTEGER.fullmatch(value):
        return 0
    return (int(value) > int(bound)) - (int(value) < int(bound))


# --- field selectors: reading -------------------------------------------------------------------------------

_FIELD_TERM: Final = re.compile(r"(?:[^\\,]|\\.)*")
_FIELD_OPERATOR: Final = re.compile(r"(?P<path>[^=!]*)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)


def _split_field_terms(text: str) -> list[str]:
    """At the commas that no backslash precedes."""
    terms, start = [], 0
    while start <= len(text):
        match = _FIELD_TERM.match(text, start)
        end = match.end() if match else start
        if end < len(text) and text[end] == "\\":
            raise SelectorError(f"cannot read field selector {text!r}: it ends within an escape")
        terms.append(text[start:end])
        start = end + 1
    return terms


def _read_field_term(term: str) -> FieldRequirement:
    match = _FIELD_OPERATOR.fullmatch(term)
    if match is None or not match["path"].strip():
        raise SelectorError(f"cannot read field selector {term!r}: write FIELD=VALUE or FIELD!=VALUE")
    return FieldRequirement(match["path"].strip(), _unescape(match["value"]), match["operator"] != "!=")


def _unescape(value: str) -> str:
    out, rest = [], iter(value)
    for character in rest:
        if character == "=":
            raise SelectorError(f"field selector value {value!r} has a bare '='; write it as '\\='")
        if character == "\\":
            character = next(rest, "")
            if character not in ("\\", ",", "="):
                raise SelectorError(
                    f"field selector value {value!r}: only '\\\\', '\\,' and '\\=' are escapes"
                )
        out.append(character)
    return "".join(out)


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)
