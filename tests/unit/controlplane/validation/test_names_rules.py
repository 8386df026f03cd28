"""The rules for names, with upstream's words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.apiserver.validation import names

GOOD: list[tuple[Callable[[str], tuple[str, ...]], str]] = [
    (names.check_label, "a"),
    (names.check_label, "1-a"),
    (names.check_label, "a" * 63),
    (names.check_subdomain, "a.b-c.1"),
    (names.check_subdomain, ("a" * 60 + ".") * 4 + "a"),
    (names.check_service_name, "web-1"),
    (names.check_qualified_name, "app"),
    (names.check_qualified_name, "example.com/My_App.1"),
    (names.check_label_value, ""),
    (names.check_label_value, "A_b.C-1"),
    (names.check_config_key, "ca.crt"),
    (names.check_config_key, "KEY_name-1"),
    (names.check_variable_name, "PATH"),
    (names.check_variable_name, "with.dots-and-dashes"),
    (names.check_port_name, "http-1"),
]

BAD: list[tuple[Callable[[str], tuple[str, ...]], str, str]] = [
    (names.check_label, "", "a lowercase RFC 1123 label must consist of"),
    (names.check_label, "A", "a lowercase RFC 1123 label must consist of"),
    (names.check_label, "a.b", "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'"),
    (names.check_label, "a" * 64, "must be no more than 63 bytes"),
    (names.check_label, "a-", "(e.g. 'my-name',  or '123-abc', regex"),
    (names.check_label, "a\n", "must consist of"),
    (names.check_subdomain, "a..b", "a lowercase RFC 1123 subdomain must consist of"),
    (names.check_subdomain, "a" * 254, "must be no more than 253 bytes"),
    (names.check_service_name, "1web", "a DNS-1035 label must consist of"),
    (names.check_qualified_name, "", "name part must be non-empty"),
    (names.check_qualified_name, "/app", "prefix part must be non-empty"),
    (names.check_qualified_name, "a/b/c", "with an optional DNS subdomain prefix and '/'"),
    (names.check_qualified_name, "EXAMPLE.com/app", "prefix part a lowercase RFC 1123 subdomain"),
    (names.check_qualified_name, "x/" + "a" * 64, "name part must be no more than 63 bytes"),
    (names.check_label_value, "-a", "a valid label must be an empty string or consist of"),
    (names.check_label_value, "a" * 64, "must be no more than 63 bytes"),
    (names.check_config_key, "a/b", "a valid config key must consist of"),
    (names.check_config_key, "..", "must not be '..'"),
    (names.check_config_key, "..data", "must not start with '..'"),
    (names.check_variable_name, "", "printable ASCII"),
    (names.check_variable_name, "A=B", "other than '='"),
    (names.check_port_name, "80", "must contain at least one letter (a-z)"),
    (names.check_port_name, "a" * 16, "must be no more than 15 characters"),
    (names.check_port_name, "a--b", "must not contain consecutive hyphens"),
    (names.check_port_name, "-a", "must not begin or end with a hyphen"),
    (names.check_port_name, "Http", "must contain only alpha-numeric characters"),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_good_name(check: Callable[[str], tuple[str, ...]], text: str) -> None:
    assert check(text) == ()


@pytest.mark.parametrize(("check", "text", "says"), BAD)
def test_bad_name(check: Callable[[str], tuple[str, ...]], text: str, says: str) -> None:
    assert any(says in problem for problem in check(text))
