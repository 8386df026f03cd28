"""The rules for names: DNS labels and subdomains, qualified names, label values, port names, paths.

Pure. Each function gives the broken rules as sentences, none when the name is good; validators put a field's
path in front. Follows RFC 1123 and RFC 1035 as the Kubernetes page "Object Names and IDs" reads them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY: Final = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
_PORT_NAME: Final = re.compile("[-a-z0-9]+")

_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_CONFIG_KEY_RULE: Final = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"


def check_label(text: str) -> tuple[str, ...]:
    """Rules of an RFC 1123 label that the text breaks."""
    return (*_check_length(text, 63), *_check_pattern(text, _LABEL, _LABEL_RULE, "my-name", "123-abc"))


def check_subdomain(text: str) -> tuple[str, ...]:
    """Rules of an RFC 1123 subdomain that the text breaks."""
    return (*_check_length(text, 253), *_check_pattern(text, _SUBDOMAIN, _SUBDOMAIN_RULE, "example.com"))


def check_service_name(text: str) -> tuple[str, ...]:
    """Rules of an RFC 1035 label, the form of Services' names, that the text breaks."""
    return (
        *_check_length(text, 63),
        *_check_pattern(text, _LABEL_1035, _LABEL_1035_RULE, "my-name", "abc-123"),
    )


def check_qualified_name(text: str) -> tuple[str, ...]:
    """Rules of a qualified name ("example.com/name": label keys, taints, resources) that the text breaks."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        (rule,) = _check_pattern("/", _QUALIFIED, _QUALIFIED_RULE, "MyName", "my.name", "123-abc")
        return (
            f"a qualified name {rule} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')",
        )
    problems: list[str] = []
    if slash:
        problems += [f"prefix part {problem}" for problem in _check_prefix(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    problems += [f"name part {problem}" for problem in _check_length(name, 63)]
    pattern = _check_pattern(name, _QUALIFIED, _QUALIFIED_RULE, "MyName", "my.name", "123-abc")
    return (*problems, *(f"name part {problem}" for problem in pattern))


def _check_prefix(prefix: str) -> tuple[str, ...]:
    return check_subdomain(prefix) if prefix else ("must be non-empty",)


def check_label_value(text: str) -> tuple[str, ...]:
    """Rules of a label's value that the text breaks."""
    pattern = _check_pattern(text, _LABEL_VALUE, _LABEL_VALUE_RULE, "MyValue", "my_value", "12345")
    return (*_check_length(text, 63), *pattern)


def check_config_key(text: str) -> tuple[str, ...]:
    """Rules of a key of a ConfigMap or Secret that the text breaks."""
    problems = (
        *_check_length(text, 253),
        *_check_pattern(text, _CONFIG_KEY, _CONFIG_KEY_RULE, "key.name", "KEY_NAME", "key-name"),
    )
    if text in (".", ".."):
        return (*problems, f"must not be '{text}'")
    return (*problems, "must not start with '..'") if text.startswith("..") else problems


def check_variable_name(text: str) -> tuple[str, ...]:
    """Rules of an environment variable's name that the text breaks."""
    if text and all("!" <= character <= "~" or character == " " for character in text) and "=" not in text:
        return ()
    return (
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
    )


def check_port_name(text: str) -> tuple[str, ...]:
    """Rules of a port's name (an IANA service name) that the text breaks."""
    problems: list[str] = []
    if len(text) > 15:
        problems.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= character <= "z" for character in text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return tuple(problems)


def check_port_number(number: int) -> tuple[str, ...]:
    """Rules of a port's number that it breaks."""
    return () if 0 < number < 65536 else ("must be between 1 and 65535, inclusive",)


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """One of the patterns above; looked up more cheaply here than by `re`, which checks what it is given."""
    return re.compile(pattern)


def _check_length(text: str, limit: int) -> tuple[str, ...]:
    if 4 * len(text) <= limit or len(text.encode("utf-8", "replace")) <= limit:
        return ()
    return (f"must be no more than {limit} bytes",)


def _check_pattern(text: str, pattern: str, rule: str, *examples: str) -> tuple[str, ...]:
    if _compile(pattern).fullmatch(text):
        return ()
    shown = "',  or '".join(examples)
    return (f"{rule} (e.g. '{shown}', regex used for validation is '{pattern}')",)
