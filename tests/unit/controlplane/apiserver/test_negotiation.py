"""What form an answer takes."""

from __future__ import annotations

import pytest

from controlplane.apiserver.negotiation import Format, Shape, choose_format, parse_content_type

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format()),
        ("*/*", Format()),
        ("application/*", Format()),
        ("application/json", Format()),
        ("application/yaml", Format("application/yaml")),
        (
            f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Format(shape=Shape.TABLE),
        ),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Format()),
        ("application/vnd.kubernetes.protobuf,application/json", Format()),
        ("application/json;q=0.1,application/yaml;q=0.9", Format("application/yaml")),
        ("application/json;q=0,application/yaml", Format("application/yaml")),
        ("text/html", None),
        ("application/vnd.kubernetes.protobuf", None),
        ("application/json;as=Nonsense;v=v1;g=meta.k8s.io", None),
    ],
)
def test_the_best_form_that_is_spoken(accept: str, expected: Format | None) -> None:
    assert choose_format(accept) == expected


def test_a_content_type_loses_its_parameters() -> None:
    assert parse_content_type("Application/JSON; charset=utf-8") == "application/json"
    assert parse_content_type("") == "application/json"
