"""A Binding that nobody can read is refused with a sentence, and the pod stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.apiserver.binding import bind_pod
from controlplane.apiserver.failures import ApiFailure

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD = {"metadata": {"name": "web", "uid": "u1"}, "spec": {}}


def test_the_node_and_the_annotations_are_taken_over() -> None:
    binding = {"metadata": {"annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n1"}}
    bound = bind_pod(POD, binding, NOW)
    assert bound["spec"] == {"nodeName": "n1"}
    assert bound["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ({"target": "n1"}, "target of a Binding must be an object, not string"),
        ({"target": ["n1"]}, "target of a Binding must be an object, not array"),
        ({"target": {"name": "n1"}, "metadata": 1}, "metadata of a Binding must be an object, not integer"),
        (
            {"target": {"name": "n1"}, "metadata": {"annotations": True}},
            "annotations of a Binding must be an object, not boolean",
        ),
    ],
)
def test_a_part_of_another_type_is_named(binding: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiFailure) as caught:
        bind_pod(POD, binding, NOW)
    assert caught.value.status.message == words
